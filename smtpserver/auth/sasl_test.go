package auth_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/smtpserver/auth"
)

var errDown = errors.New("table is down")

// users has a table of two users, and one whose row cannot be read.
var users = auth.TableFunc(func(_ context.Context, key string) (string, bool, error) {
	switch key {
	case "alice@example.org":
		return "{PLAIN}wonder land", true, nil
	case "bob":
		return "$5$saltstring$kkjeJzcIcoraOI9Wy.Ik/CyqO0UtR1loRaFn/1I2xa7", true, nil
	case "broken":
		return "{NOSUCH}x", true, nil
	case "costly":
		return "$6$rounds=999999999$salt$" + strings.Repeat("a", 86), true, nil
	case "down":
		return "", false, errDown
	}
	return "", false, nil
})

func TestSASL(t *testing.T) {
	t.Parallel()
	none := []byte(nil)
	tests := []struct {
		name      string
		mech      string
		responses [][]byte
		identity  string
		err       error
	}{
		{"plain", "PLAIN", [][]byte{[]byte("\x00alice@example.org\x00wonder land")}, "alice@example.org", nil},
		{"plain in two steps", "plain", [][]byte{none, []byte("\x00alice@example.org\x00wonder land")}, "alice@example.org", nil},
		{"plain, own identity", "PLAIN", [][]byte{[]byte("bob\x00bob\x00pässword 1")}, "bob", nil},
		{"plain, other identity", "PLAIN", [][]byte{[]byte("alice@example.org\x00bob\x00pässword 1")}, "", smtp.ErrAuthFailed},
		{"plain, allowed identity", "PLAIN", [][]byte{[]byte("friend\x00bob\x00pässword 1")}, "friend", nil},
		{"plain, identity nobody can tell", "PLAIN", [][]byte{[]byte("down\x00bob\x00pässword 1")}, "", errDown},
		{"plain, identity with a line end", "PLAIN", [][]byte{[]byte("friend\r\n\x00bob\x00pässword 1")}, "", smtp.ErrAuthFailed},
		{"wrong password", "PLAIN", [][]byte{[]byte("\x00bob\x00password 1")}, "", smtp.ErrAuthFailed},
		{"empty password", "PLAIN", [][]byte{[]byte("\x00bob\x00")}, "", smtp.ErrAuthFailed},
		{"empty user", "PLAIN", [][]byte{[]byte("\x00\x00x")}, "", smtp.ErrAuthFailed},
		{"unknown user", "PLAIN", [][]byte{[]byte("\x00eve\x00x")}, "", smtp.ErrAuthFailed},
		{"table down", "PLAIN", [][]byte{[]byte("\x00down\x00x")}, "", errDown},
		{"unreadable secret", "PLAIN", [][]byte{[]byte("\x00broken\x00x")}, "", auth.ErrSecret},
		{"endless secret", "PLAIN", [][]byte{[]byte("\x00costly\x00x")}, "", auth.ErrSecret},
		{"too few parts", "PLAIN", [][]byte{[]byte("bob\x00x")}, "", smtp.ErrAuthFailed},
		{"too many parts", "PLAIN", [][]byte{[]byte("\x00bob\x00pässword 1\x00")}, "", smtp.ErrAuthFailed},
		{"nothing twice", "PLAIN", [][]byte{none, none}, "", smtp.ErrAuthFailed},
		{"long user", "PLAIN", [][]byte{[]byte("\x00" + strings.Repeat("b", 400) + "\x00x")}, "", smtp.ErrAuthFailed},
		{"long password", "PLAIN", [][]byte{[]byte("\x00bob\x00" + strings.Repeat("b", 2000))}, "", smtp.ErrAuthFailed},
		{"user with a line end", "PLAIN", [][]byte{[]byte("\x00bob\r\nX: y\x00x")}, "", smtp.ErrAuthFailed},
		{"user that is no UTF-8", "PLAIN", [][]byte{[]byte("\x00bob\xff\x00x")}, "", smtp.ErrAuthFailed},

		{"login", "LOGIN", [][]byte{none, []byte("alice@example.org"), []byte("wonder land")}, "alice@example.org", nil},
		{"login, user sent along", "login", [][]byte{[]byte("alice@example.org"), []byte("wonder land")}, "alice@example.org", nil},
		{"login, wrong", "LOGIN", [][]byte{none, []byte("alice@example.org"), []byte("wonderland")}, "", smtp.ErrAuthFailed},
		{"login, nothing", "LOGIN", [][]byte{none, {}, {}}, "", smtp.ErrAuthFailed},
		{"login, long user", "LOGIN", [][]byte{none, make([]byte, 400)}, "", smtp.ErrAuthFailed},
		{"login, NUL in password", "LOGIN", [][]byte{none, []byte("bob"), []byte("pässword 1\x00")}, "", smtp.ErrAuthFailed},
		{"login, down", "LOGIN", [][]byte{none, []byte("down"), []byte("x")}, "", errDown},
	}
	a := &auth.SASL{Verifier: &auth.Passwd{Table: users}, Authorizer: auth.AuthorizerFunc(
		func(_ context.Context, user, identity string) (bool, error) {
			if identity == "down" {
				return false, errDown
			}
			return user == "bob" && identity == "friend", nil
		})}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, err := a.Start(t.Context(), mtakit.Client{}, tt.mech)
			require.NoError(t, err)
			done := false
			for i, r := range tt.responses {
				require.False(t, done)
				_, done, err = s.Next(r)
				if i < len(tt.responses)-1 {
					require.NoError(t, err)
				}
			}
			assert.Equal(t, tt.err == nil, done)
			require.ErrorIs(t, err, tt.err)
			if tt.err != nil && tt.err != smtp.ErrAuthFailed {
				assert.NotErrorIs(t, err, smtp.ErrAuthFailed, "a fault must not tell that the password is wrong")
			}
			assert.Equal(t, tt.identity, s.(interface{ Identity() string }).Identity())
			_, _, err = s.Next([]byte("\x00bob\x00pässword 1"))
			assert.ErrorIs(t, err, sasl.ErrUnexpectedClientResponse, "an exchange is over once it is over")
		})
	}
}

func TestStart(t *testing.T) {
	t.Parallel()
	a := &auth.SASL{Offer: []string{"PLAIN", "GSSAPI"}}
	assert.Equal(t, []string{"PLAIN", "GSSAPI"}, a.Mechanisms())
	assert.Equal(t, []string{"PLAIN", "LOGIN"}, (&auth.SASL{}).Mechanisms())
	for _, mech := range []string{"LOGIN", "GSSAPI", ""} {
		_, err := a.Start(t.Context(), mtakit.Client{}, mech)
		assert.ErrorIs(t, err, auth.ErrMechanism, mech)
	}
}

// A check that waits for its turn gives up with its session, and others go on.
func TestPasswdParallel(t *testing.T) {
	t.Parallel()
	p := &auth.Passwd{Table: users, Parallel: 2}
	var right atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if ok, err := p.Verify(t.Context(), "bob", "pässword 1"); ok && err == nil {
				right.Add(1)
			}
		})
	}
	wg.Wait()
	assert.EqualValues(t, 8, right.Load())
}

func TestPasswdCancelled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	ok, err := (&auth.Passwd{Table: users}).Verify(ctx, "alice@example.org", "wonder land")
	require.ErrorIs(t, err, context.Canceled)
	assert.False(t, ok)
}

// A stranger is checked like the user before him.
func TestStrangerIsNeverRight(t *testing.T) {
	t.Parallel()
	p := &auth.Passwd{Table: users}
	ok, err := p.Verify(t.Context(), "alice@example.org", "wonder land")
	require.NoError(t, err)
	require.True(t, ok)
	ok, err = p.Verify(t.Context(), "eve", "wonder land")
	require.NoError(t, err)
	assert.False(t, ok)
}

// Example checks a login.
func Example() {
	table := auth.TableFunc(func(_ context.Context, user string) (string, bool, error) {
		return "{SSHA}6SJeiiC5g3dDaY2bjsAbOu4DHlQBAgP/", user == "alice@example.org", nil
	})
	a := &auth.SASL{Verifier: &auth.Passwd{Table: table}}
	server, _ := a.Start(context.Background(), mtakit.Client{}, "PLAIN")
	_, done, err := server.Next([]byte("\x00alice@example.org\x00pässword 1"))
	fmt.Println(done, err)
	// Output: true <nil>
}

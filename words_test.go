package mtakit_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
)

func TestEnvelopeCloneSharesNothing(t *testing.T) {
	t.Parallel()
	auth, priority := "user", 3
	e := &mtakit.Envelope{
		Sender:  "a@example.org",
		Options: smtp.MailOptions{Auth: &auth},
		Params:  []mtakit.Param{{Name: "HOLDFOR", Value: "60"}},
		Recipients: []mtakit.Recipient{{Address: "b@example.org", Options: smtp.RcptOptions{
			Notify: []smtp.DSNNotify{smtp.DSNNotifyNever}, MTPriority: &priority,
			DeliverBy: &smtp.DeliverByOptions{Time: time.Minute},
		}}},
		Attrs: map[string]string{"k": "v"},
	}
	c := e.Clone()
	require.Equal(t, e, c)

	*e.Options.Auth = "other"
	e.Params[0].Value = "0"
	e.Recipients[0].Address = "x"
	e.Recipients[0].Options.Notify[0] = smtp.DSNNotifySuccess
	*e.Recipients[0].Options.MTPriority = 9
	e.Recipients[0].Options.DeliverBy.Time = 0
	e.Attrs["k"] = "w"
	r := c.Recipients[0]
	assert.Equal(t, "user", *c.Options.Auth)
	assert.Equal(t, "60", c.Params[0].Value)
	assert.Equal(t, "b@example.org", r.Address)
	assert.Equal(t, smtp.DSNNotifyNever, r.Options.Notify[0])
	assert.Equal(t, 3, *r.Options.MTPriority)
	assert.Equal(t, time.Minute, r.Options.DeliverBy.Time)
	assert.Equal(t, "v", c.Attrs["k"])
	assert.Nil(t, (*mtakit.Envelope)(nil).Clone())
}

func TestOriginalAddress(t *testing.T) {
	t.Parallel()
	assert.Equal(t, "a", (&mtakit.Recipient{Address: "a"}).OriginalAddress())
	assert.Equal(t, "b", (&mtakit.Recipient{Address: "a", Original: "b"}).OriginalAddress())
}

func TestVerdictMerge(t *testing.T) {
	t.Parallel()
	first, second := &smtp.SMTPError{Code: 450}, &smtp.SMTPError{Code: 451}
	v := mtakit.Verdict{Action: mtakit.Permit, DeferIfPermit: first, Hold: "h", BCC: []string{"a"}}
	v.Merge(mtakit.Verdict{Action: mtakit.Reject, DeferIfPermit: second, DeferIfReject: second,
		Hold: "i", Redirect: "r", Filter: "f", BCC: []string{"b"}, Prepend: []string{"X: 1"}, Log: []string{"l"}})
	assert.Equal(t, mtakit.Verdict{Action: mtakit.Permit, DeferIfPermit: first, DeferIfReject: second,
		Hold: "i", Redirect: "r", Filter: "f", BCC: []string{"a", "b"}, Prepend: []string{"X: 1"}, Log: []string{"l"}}, v)
}

func TestResultOf(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		err     error
		outcome mtakit.Outcome
		status  smtp.EnhancedCode
		text    string
	}{
		{"none", nil, mtakit.Delivered, smtp.EnhancedCode{2, 0, 0}, ""},
		{"permanent", &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "no"}, mtakit.Bounced, smtp.EnhancedCode{5, 1, 1}, "no"},
		{"wrapped", fmt.Errorf("x: %w", &smtp.SMTPError{Code: 450, Message: "later"}), mtakit.Deferred, smtp.EnhancedCode{4, 0, 0}, "later"},
		{"no code", &smtp.SMTPError{Code: 550, EnhancedCode: smtp.NoEnhancedCode}, mtakit.Bounced, smtp.EnhancedCode{5, 0, 0}, ""},
		{"unclassified is temporary", errors.New("disk on fire"), mtakit.Deferred, smtp.EnhancedCode{4, 3, 0}, "disk on fire"},
	}
	for _, tt := range tests {
		r := mtakit.ResultOf(tt.err)
		assert.Equal(t, tt.outcome, r.Outcome, tt.name)
		assert.Equal(t, tt.status, r.Status, tt.name)
		assert.Equal(t, tt.text, r.Diagnostic, tt.name)
		assert.Equal(t, tt.err != nil && tt.outcome == mtakit.Deferred, tt.err != nil && mtakit.Temporary(tt.err), tt.name)
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	assert.Equal(t, "END-OF-MESSAGE", mtakit.StageEndOfData.String())
	assert.Equal(t, "UNKNOWN", mtakit.Stage(99).String())
	assert.Equal(t, "REJECT", mtakit.Reject.String())
	assert.Equal(t, "UNKNOWN", mtakit.Action(-1).String())
	assert.Equal(t, "relayed", mtakit.Relayed.String())
	assert.Equal(t, "unknown", mtakit.Outcome(77).String())
	assert.False(t, mtakit.TLS{}.On())
}

func TestMessageOpen(t *testing.T) {
	t.Parallel()
	m := mtakit.NewMessage([]byte("A: 1\r\n\r\nbody\r\n"))
	for range 2 {
		r, err := m.Open()
		require.NoError(t, err)
		b, err := io.ReadAll(r)
		require.NoError(t, err)
		require.NoError(t, r.Close())
		assert.Equal(t, "A: 1\r\n\r\nbody\r\n", string(b))
	}
}

func ExampleObserverFunc() {
	var observer mtakit.Observer = mtakit.ObserverFunc(func(_ context.Context, e mtakit.Event) {
		fmt.Println(e.Kind, e.ID, e.Recipient)
	})
	observer.Observe(context.Background(), mtakit.Event{Kind: mtakit.EventDelivered, ID: "3K2x9", Recipient: "user@example.org"})
	// Output: delivered 3K2x9 user@example.org
}

// Example reads a message and puts a field above it; everything else stays
// byte for byte.
func Example() {
	m := mtakit.NewMessage([]byte("Subject: hello\r\n\r\nHi Alice\r\n"))
	f, _ := mtakit.NewField("Received", "from localhost by mx.example.org;\r\n\tSun, 22 Nov 2026 10:00:00 +0000")
	m.Header.Prepend(f)
	subject, _ := m.Header.Get("subject")
	fmt.Println(subject, m.Header.Len(), m.Size())
	// Output: hello 2 107
}

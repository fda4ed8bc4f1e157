package dsn_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/queue/dsn"
)

// TestRead reads what mail servers write: Postfix, Sendmail, Exchange (in parts
// in parts, encoded, without an end), Exim, qmail, one of RFC 6533, and a wreck.
func TestRead(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/read/*.eml")
	require.NoError(t, err)
	require.Len(t, files, 7)
	for _, file := range files {
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		n, err := dsn.Read(bytes.NewReader(b))
		require.NoError(t, err, file)
		slow, err := dsn.Read(iotest.OneByteReader(bytes.NewReader(b)))
		require.NoError(t, err)
		assert.Equal(t, n, slow, file)
		got := described(t, n)
		golden := strings.TrimSuffix(file, ".eml") + ".json"
		if *update {
			require.NoError(t, os.WriteFile(golden, got, 0o644))
		}
		want, err := os.ReadFile(golden)
		require.NoError(t, err)
		assert.Equal(t, string(want), string(got), file)
	}
}

func described(t *testing.T, n *dsn.Notification) []byte {
	t.Helper()
	all := struct {
		*dsn.Notification
		Header, Fields, Original []string
	}{n, lines(n.Header), lines(n.Fields), lines(n.Original)}
	b, err := json.MarshalIndent(all, "", "\t")
	require.NoError(t, err)
	return append(b, '\n')
}

func lines(h *mtakit.Header) (all []string) {
	if h == nil {
		return nil
	}
	for _, f := range h.All() {
		all = append(all, f.Name()+": "+f.Value())
	}
	return all
}

// What we write we read.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for _, to := range []string{"a@example.org", "jürgen@example.org"} {
		r := failure()
		r.To, r.UTF8 = to, true
		r.Message = mtakit.NewMessage([]byte("Message-ID: <1@example.org>\r\nSubject: Grüße\r\n\r\nHi\r\n"))
		r.Recipients[0].Address, r.Recipients[0].ORCPT, r.Recipients[0].ORCPTType = "用户@example.net", "用 户+=@example.com", "utf-8"
		r.Recipients = append(r.Recipients, dsn.Recipient{Address: `"odd; user"@example.net`, Result: mtakit.Result{
			Outcome: mtakit.Bounced, Diagnostic: strings.Repeat("long ", 300)}})
		b, _ := encode(t, &r)
		n, err := dsn.Read(bytes.NewReader(b))
		require.NoError(t, err)
		assert.Equal(t, dsn.RFC3464, n.Form)
		assert.Equal(t, "mx.example.org", n.ReportingMTA)
		assert.Equal(t, "env 1", n.EnvelopeID)
		assert.WithinDuration(t, noon.Add(-time.Hour), n.Arrival, 0)
		assert.Contains(t, n.Text, "<用户@example.net>")
		id, _ := n.Original.Get("Message-ID")
		assert.Equal(t, "<1@example.org>", id)
		require.Len(t, n.Recipients, 3)
		assert.Equal(t, dsn.RecipientReport{Address: "用户@example.net", AddressType: "utf-8", Original: "用 户+=@example.com", OriginalType: "utf-8",
			Action: "failed", Status: smtp.EnhancedCode{5, 1, 1}, RemoteMTA: "mx.example.net",
			DiagnosticType: "smtp", Diagnostic: "550 5.1.1 no such user here"}, n.Recipients[0])
		assert.Equal(t, `"odd; user"@example.net`, n.Recipients[2].Address)
		assert.Equal(t, strings.TrimSpace(strings.Repeat("long ", 300)), n.Recipients[2].Diagnostic)
	}
	r := failure()
	r.Kind, r.RetryUntil = dsn.Delay, noon
	b, _ := encode(t, &r)
	n, err := dsn.Read(bytes.NewReader(b))
	require.NoError(t, err)
	assert.Equal(t, "delayed", n.Recipients[0].Action)
	assert.WithinDuration(t, noon, n.Recipients[0].RetryUntil, 0)
}

func TestReadOther(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "\n", "hello", "Subject: hi\r\n\r\nHow are you?\r\n", "Content-Type: multipart/report\r\n\r\n--\r\n",
		"Content-Type: multipart/report; boundary=a\r\n\r\n--a\r\n\r\nx\r\n--a--\r\n",
		"Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\nContent-Type: message/rfc822\r\n\r\nFinal-Recipient: rfc822; a\r\n\r\n",
		"X-Failed-Recipients: ,\r\n\r\n", "Subject: x\n\nHi. This is the new one\n\nno address\n",
		"Content-Type: message/delivery-status\nContent-Transfer-Encoding: base64\n\n!!!!\n",
	} {
		_, err := dsn.Read(strings.NewReader(s))
		require.ErrorIs(t, err, dsn.ErrNotNotification, "%q", s)
	}
	bad := errors.New("bad sector")
	_, err := dsn.Read(io.MultiReader(strings.NewReader("Subject: x\r\n"), iotest.ErrReader(bad)))
	require.ErrorIs(t, err, bad)
}

// Hostile input costs no more than its length, and not all of that.
func TestReadHostile(t *testing.T) {
	t.Parallel()
	head := "Content-Type: multipart/report; boundary=b\n\n--b\nContent-Type: message/delivery-status\n\n"
	one := "Final-Recipient: rfc822; a@x\n\n"
	for name, s := range map[string]string{
		"recipients": head + strings.Repeat(one, 110000),
		"blank":      head + one + strings.Repeat("\n", 2<<20),
		"blocks":     head + one + strings.Repeat("a:b\n\n", 110000),
		"field":      head + one + "Final-Recipient: rfc822; " + strings.Repeat("x", 1<<20),
		"fields":     head + one + strings.Repeat("Diagnostic-Code: smtp; x\n", 1<<16),
		"header":     strings.Repeat("Received: x\n", 1<<17) + head + one,
		"parts":      head + one + strings.Repeat("--b\n\nx\n", 1<<16),
		"text":       "X-Failed-Recipients: a@x\n\n" + strings.Repeat("line\n", 1<<18),
		"failed":     "X-Failed-Recipients: " + strings.Repeat("a@x,", 10000) + "\n\n",
	} {
		n, err := dsn.Read(strings.NewReader(s))
		if name == "header" {
			require.Error(t, err, "its Content-Type is beyond the limit")
			continue
		}
		require.NoError(t, err, name)
		assert.NotEmpty(t, n.Recipients, name)
		assert.LessOrEqual(t, len(n.Recipients), 100000, name)
		assert.LessOrEqual(t, len(n.Text), 64<<10, name)
		assert.Equal(t, name == "recipients" || name == "blocks" || name == "parts", n.Truncated, name)
	}
	// Parts in parts in parts.
	deep := ""
	for i := range 1000 {
		deep += fmt.Sprintf("Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n", i, i)
	}
	_, err := dsn.Read(strings.NewReader(deep + strings.TrimPrefix(head, "Content-Type: ") + one))
	require.ErrorIs(t, err, dsn.ErrNotNotification)
}

func FuzzRead(f *testing.F) {
	files, _ := filepath.Glob("testdata/read/*.eml")
	for _, file := range files {
		b, err := os.ReadFile(file)
		require.NoError(f, err)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := dsn.Read(bytes.NewReader(b))
		if err != nil {
			require.Nil(t, n)
			require.ErrorIs(t, err, dsn.ErrNotNotification)
			return
		}
		require.NotEmpty(t, n.Recipients)
		require.NotNil(t, n.Header)
		for _, r := range n.Recipients {
			require.LessOrEqual(t, len(r.Diagnostic), 2048)
			require.Contains(t, []int{0, 2, 4, 5}, r.Status[0])
		}
	})
}

func ExampleRead() {
	mail := strings.ReplaceAll(`From: MAILER-DAEMON@mx.example.org
Content-Type: multipart/report; report-type=delivery-status; boundary=b

--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example.org

Final-Recipient: rfc822; bob@example.net
Action: failed
Status: 5.1.1
Diagnostic-Code: smtp; 550 no such user
--b--
`, "\n", "\r\n")
	n, err := dsn.Read(strings.NewReader(mail))
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, r := range n.Recipients {
		fmt.Println(r.Address, r.Action, r.Status, r.Diagnostic)
	}
	// Output: bob@example.net failed [5 1 1] 550 no such user
}

func TestVERP(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ delimiters, sender, recipient, want string }{
		{"", "owner-list@example.org", "bob@example.net", "owner-list+bob=example.net@example.org"},
		{"-=", "list@example.org", "bob@example.net", "list-bob=example.net@example.org"},
		{"", "a+b@example.org", "c+d=e@example.net", "a+b+c+d=e=example.net@example.org"},
		{"", "ü@example.org", "用户@例子", "ü+用户=例子@example.org"},
		{"", "", "bob@example.net", ""},
		{"", "list@example.org", "bob", ""},
		{"", `"a b"@example.org`, "bob@example.net", ""},
		{"", "list@example.org", `"a@b"@example.net`, ""},
	} {
		v := dsn.VERP{Delimiters: tt.delimiters}
		got, ok := v.Encode(tt.sender, tt.recipient)
		assert.Equal(t, tt.want, got)
		assert.Equal(t, tt.want != "", ok)
		if ok {
			back, ok := v.Decode(got, tt.sender)
			assert.True(t, ok)
			assert.Equal(t, tt.recipient, back)
		}
	}
	for _, address := range []string{"", "list@example.org", "list+@example.org", "list+bob@example.org", "list+=example.net@example.org",
		"list+bob=@example.org", "other+bob=example.net@example.org", "list+bob=example.net@example.com", "listbob=example.net@example.org"} {
		_, ok := dsn.VERP{}.Decode(address, "list@example.org")
		assert.False(t, ok, address)
	}
	recipient, ok := dsn.VERP{}.Decode("list+bob=example.net@EXAMPLE.org", "list@example.org")
	assert.True(t, ok)
	assert.Equal(t, "bob@example.net", recipient)
}

package rewrite_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/lookup/rewrite"
)

func TestMissing(t *testing.T) {
	t.Parallel()
	const (
		date = `Date: Thu,  1 Jan 2026 00:00:00 \+0000 \(UTC\)\r\n`
		id   = `Message-ID: <20260101000000\.[A-Z2-7]{13}@mx\.example\.org>\r\n`
	)
	for _, tt := range []struct{ sender, text, want string }{
		{"a@example.org", "Subject: x\r\n\r\nHi\r\n", "^" + date + id + `From: a@example\.org\r\nSubject: x\r\n\r\n$`},
		{"", "\r\nHi\r\n", "^" + date + id + `From: MAILER-DAEMON@mx\.example\.org\r\n\r\n$`},
		{"a@example.org", "from: b\r\nDATE: never\r\nMessage-Id: <x>\r\n\r\n", "^from: b\r\nDATE: never\r\nMessage-Id: <x>\r\n\r\n$"},
		{"a@example.org", "From: b\r\nDate: x\r\nMessage-Id: <x>\r\nResent-To: c\r\nResent-Date: y\r\n\r\n",
			"^Resent-" + id + `Resent-From: a@example\.org\r\nFrom: b\r\n`},
	} {
		env := &mtakit.Envelope{Sender: tt.sender, Arrival: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
		m := mtakit.NewMessage([]byte(tt.text))
		_, err := rewrite.Missing{Hostname: "mx.example.org"}.Filter(t.Context(), env, m)
		require.NoError(t, err)
		assert.Regexp(t, tt.want, string(m.Header.Bytes()))
	}
	for name, want := range map[string]string{"": "a@example.org", "Alice Example": `"Alice Example" <a@example.org>`,
		`A "\`: `"A \"\\" <a@example.org>`, "J\u00fcrgen": "=?utf-8?q?J=C3=BCrgen?= <a@example.org>",
		"a\r\nTo: b": "=?utf-8?q?a=0D=0ATo:_b?= <a@example.org>"} {
		m := mtakit.NewMessage([]byte("\r\n"))
		env := &mtakit.Envelope{Sender: "a@example.org", Attrs: map[string]string{"n": name}}
		_, err := rewrite.Missing{Hostname: "mx.example.org", FullName: "n"}.Filter(t.Context(), env, m)
		require.NoError(t, err)
		from, _ := m.Header.Get("From")
		assert.Equal(t, want, from)
	}
	m := mtakit.NewMessage([]byte("Subject: x\r\n\r\n"))
	_, err := rewrite.Missing{Hostname: "mx.example.org"}.Filter(t.Context(), &mtakit.Envelope{Sender: "a\nb: c"}, m)
	require.ErrorIs(t, err, mtakit.ErrField)
	_, err = rewrite.Missing{Hostname: "mx.example.org"}.Filter(t.Context(), &mtakit.Envelope{}, m)
	require.NoError(t, err)
	value, _ := m.Header.Get("Date")
	assert.NotEmpty(t, value)
}

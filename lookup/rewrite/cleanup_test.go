package rewrite_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/lookup/rewrite"
)

func site() *rewrite.Cleanup {
	return &rewrite.Cleanup{
		Canonical: &rewrite.Canonical{
			Sender:    table{"alice@example.org": "Alice.Example@example.org"},
			Recipient: table{"alice.example@example.org": "alice@example.org"},
		},
		Expander: &rewrite.Expander{
			Virtual: &rewrite.Virtual{Table: table{"team@example.org": "alice@example.org, bob@example.net", "loop@example.org": "pool@example.org", "pool@example.org": "loop@example.org"}},
			Aliases: &rewrite.Aliases{Table: table{"cmd": "|cat"}, Domains: table{"example.org": ""}},
		},
	}
}

func rcpt(address string, notify ...smtp.DSNNotify) mtakit.Recipient {
	return mtakit.Recipient{Address: address, Options: smtp.RcptOptions{Notify: notify}}
}

func TestCleanupEnvelope(t *testing.T) {
	t.Parallel()
	env := &mtakit.Envelope{Sender: "alice@example.org", Recipients: []mtakit.Recipient{
		rcpt("team@example.org"),
		rcpt("Alice.Example@example.org"),
		rcpt("bob@example.net"),
		rcpt("other@example.com", smtp.DSNNotifySuccess),
		rcpt("team@example.org", smtp.DSNNotifySuccess),
	}}
	env.Recipients[3].Original = "typed@example.com"
	env.Recipients[0].Options.OriginalRecipientType, env.Recipients[0].Options.OriginalRecipient = smtp.DSNAddressTypeRFC822, "list@elsewhere.example"
	v, err := site().Filter(t.Context(), env, nil)
	require.NoError(t, err)
	assert.Equal(t, mtakit.Verdict{}, v)
	assert.Equal(t, "Alice.Example@example.org", env.Sender)
	var got []string
	for _, r := range env.Recipients {
		got = append(got, fmt.Sprintf("%s|%s|%v|%s;%s", r.Address, r.Original, r.Options.Notify, r.Options.OriginalRecipientType, r.Options.OriginalRecipient))
	}
	assert.Equal(t, []string{
		"alice@example.org|team@example.org|[]|RFC822;list@elsewhere.example",
		"bob@example.net|team@example.org|[]|RFC822;list@elsewhere.example",
		"other@example.com|typed@example.com|[SUCCESS]|;",
		"alice@example.org|team@example.org|[SUCCESS]|RFC822;team@example.org",
		"bob@example.net|team@example.org|[SUCCESS]|RFC822;team@example.org",
	}, got)
	env.Recipients[3].Options.Notify[0] = smtp.DSNNotifyNever
	assert.Equal(t, smtp.DSNNotifySuccess, env.Recipients[4].Options.Notify[0], "recipients share nothing")
}

func TestCleanupUTF8Original(t *testing.T) {
	t.Parallel()
	c := &rewrite.Cleanup{Canonical: &rewrite.Canonical{Both: table{"jörg@example.org": "joerg@example.org"}}}
	env := &mtakit.Envelope{Recipients: []mtakit.Recipient{rcpt("jörg@example.org")}}
	_, err := c.Filter(t.Context(), env, nil)
	require.NoError(t, err)
	assert.Equal(t, smtp.DSNAddressTypeUTF8, env.Recipients[0].Options.OriginalRecipientType)
}

func TestCleanupRefusals(t *testing.T) {
	t.Parallel()
	header := []byte("From: alice@example.org\r\n\r\n")
	run := func(c *rewrite.Cleanup, address string) (mtakit.Verdict, error) {
		env := &mtakit.Envelope{Sender: "alice@example.org", Recipients: []mtakit.Recipient{rcpt("bob@example.net"), rcpt(address)}}
		before, m := env.Clone(), mtakit.NewMessage(header)
		v, err := c.Filter(t.Context(), env, m)
		assert.Equal(t, before, env, "unchanged")
		assert.Equal(t, string(header), string(m.Header.Bytes()))
		return v, err
	}
	v, err := run(site(), "loop@example.org")
	require.NoError(t, err)
	assert.Equal(t, mtakit.Reject, v.Action)
	assert.Equal(t, reply(451, smtp.EnhancedCode{4, 6, 0}, "Alias expansion error"), v.Reply)
	assert.Contains(t, v.Reason, "loop@example.org")

	_, err = run(site(), "cmd@example.org")
	require.ErrorIs(t, err, rewrite.ErrDisabled)
	c := site()
	c.Expander.Virtual.Table = broken
	_, err = run(c, "a@b")
	require.ErrorIs(t, err, errTable)
	c = site()
	c.Canonical.Both = broken
	_, err = run(c, "a@b")
	require.ErrorIs(t, err, errTable)
	c = site()
	c.MaxRecipients = 1
	v, err = run(c, "team@example.org")
	require.NoError(t, err)
	assert.Contains(t, v.Reason, "more than 1 recipients")
}

func TestCleanupZeroValueChangesNothing(t *testing.T) {
	t.Parallel()
	raw := "From: a\r\nX: \x00\r\n\r\n"
	m, env := mtakit.NewMessage([]byte(raw)), &mtakit.Envelope{Sender: "x", Recipients: []mtakit.Recipient{rcpt("A@b"), rcpt("c")}}
	before := env.Clone()
	v, err := (&rewrite.Cleanup{}).Filter(t.Context(), env, m)
	require.NoError(t, err)
	assert.Equal(t, mtakit.Verdict{}, v)
	assert.Equal(t, before, env)
	assert.Equal(t, raw, string(m.Header.Bytes()))
}

func TestCleanupHeader(t *testing.T) {
	t.Parallel()
	c := &rewrite.Cleanup{Canonical: &rewrite.Canonical{
		Sender:    table{"old@example.org": "New.Name@example.org", "q@example.org": `"odd name"@example.org`},
		Recipient: table{"r@example.org": "R@example.net", "lit@[192.0.2.1]": "lit@example.org"},
		Both:      table{"both@example.org": "b@example.org"},
	}}
	tests := []struct{ in, want string }{
		{"From: old@example.org\r\n", "From: New.Name@example.org\r\n"},
		{"from :   old@example.org  \r\n", "from :   New.Name@example.org  \r\n"},
		{"From: \"old@example.org\" (old@example.org (x)) <old@example.org>\r\n", "From: \"old@example.org\" (old@example.org (x)) <New.Name@example.org>\r\n"},
		{"From: old@example.org (Old)\r\n", "From: New.Name@example.org (Old)\r\n"},
		{"From: =?utf-8?q?J=C3=B6rg?= <both@example.org>\r\n", "From: =?utf-8?q?J=C3=B6rg?= <b@example.org>\r\n"},
		{"From: q@example.org\r\n", "From: \"odd name\"@example.org\r\n"},
		{"Reply-To: old@example.org\r\n", "Reply-To: New.Name@example.org\r\n"},
		{"Sender: <old@example.org>\r\n", "Sender: <New.Name@example.org>\r\n"},
		{"To: a@b,\r\n\tR@example.org,\r\n  x <both@example.org>\r\n", "To: a@b,\r\n\tR@example.net,\r\n  x <b@example.org>\r\n"},
		{"Cc: group: r@example.org, <both@example.org>; , c@d\r\n", "Cc: group: R@example.net, <b@example.org>; , c@d\r\n"},
		{"To: lit@[192.0.2.1], x@[IPv6:::1]\r\n", "To: lit@example.org, x@[IPv6:::1]\r\n"},
		{"To: old@example.org\r\n", "To: old@example.org\r\n"},
		{"From: r@example.org\r\n", "From: r@example.org\r\n"},
		{"Subject: old@example.org\r\n", "Subject: old@example.org\r\n"},
		{"From: old @example.org\r\n", "From: old @example.org\r\n"},
		{"From: Old old@example.org\r\n", "From: Old old@example.org\r\n"},
		{"From: <old@example.org\r\n", "From: <old@example.org\r\n"},
		{"From: <@a,@b:old@example.org>\r\n", "From: <@a,@b:old@example.org>\r\n"},
		{"From: old@example.org\x00, old@example.org\r\n", "From: old@example.org\x00, old@example.org\r\n"},
		{"From:\r\n", "From:\r\n"},
		{"Message-ID: <old@example.org>\r\n", "Message-ID: <old@example.org>\r\n"},
	}
	for _, tt := range tests {
		m := mtakit.NewMessage([]byte("X-A:  kept  \n" + tt.in + "X-B: kept\r\n\r\nbody"))
		_, err := c.Filter(t.Context(), &mtakit.Envelope{Recipients: []mtakit.Recipient{rcpt("x@example.org")}}, m)
		require.NoError(t, err)
		assert.Equal(t, "X-A:  kept  \n"+tt.want+"X-B: kept\r\n\r\n", string(m.Header.Bytes()), "%q", tt.in)
	}
}

func TestCleanupHeaderOfWhom(t *testing.T) {
	t.Parallel()
	canonical := &rewrite.Canonical{Both: table{"a@b": "c@d"}}
	mail := func(c *rewrite.Cleanup, client mtakit.Client) string {
		m := mtakit.NewMessage([]byte("From: a@b\r\n\r\n"))
		_, err := c.Filter(t.Context(), &mtakit.Envelope{Client: client, Recipients: []mtakit.Recipient{rcpt("x@example.org")}}, m)
		require.NoError(t, err)
		from, _ := m.Header.Get("From")
		return from
	}
	remote := mtakit.Client{Addr: netip.MustParseAddrPort("192.0.2.1:1")}
	c := &rewrite.Cleanup{Canonical: canonical}
	assert.Equal(t, "a@b", mail(c, remote))
	assert.Equal(t, "c@d", mail(c, mtakit.Client{}))
	assert.Equal(t, "c@d", mail(c, mtakit.Client{Addr: netip.MustParseAddrPort("[::1]:1")}))
	remote.Login = "alice"
	assert.Equal(t, "c@d", mail(c, remote))
	c.Header = func(*mtakit.Envelope) bool { return false }
	assert.Equal(t, "a@b", mail(c, remote))
}

// TestWhiteSpaceInBrackets has an address found when its brackets were folded.
func TestWhiteSpaceInBrackets(t *testing.T) {
	t.Parallel()
	c := &rewrite.Canonical{Both: table{"a@b": "c@d"}}
	for raw, want := range map[string]string{
		"To: A\r\n <\r\n a@b>\r\n":                      "To: A\r\n <\r\n c@d>\r\n",
		"To: < a@b\t>, <a@b\r\n >, < >\r\n":             "To: < c@d\t>, <c@d\r\n >, < >\r\n",
		"Disposition-Notification-To: Me <a@b>\r\n\r\n": "Disposition-Notification-To: Me <c@d>\r\n\r\n",
	} {
		h, err := c.RewriteHeader(t.Context(), mtakit.NewMessage([]byte(raw)).Header)
		require.NoError(t, err)
		require.NotNil(t, h, raw)
		assert.Equal(t, want, string(h.Bytes()))
	}
}

func TestCleanupHugeHeader(t *testing.T) {
	t.Parallel()
	asked := 0
	c := &rewrite.Canonical{Both: rewrite.TableFunc(func(ctx context.Context, key string) (string, bool, error) {
		asked++
		return "", false, nil
	})}
	raw := "To: " + strings.Repeat("a@b, ", 200_000) + "c@d\r\nCc: " + strings.Repeat("(", 100_000) + "<" + strings.Repeat("\"", 100_001) + "\r\n\r\n"
	h, err := c.RewriteHeader(t.Context(), mtakit.NewMessage([]byte(raw)).Header)
	require.NoError(t, err)
	assert.Nil(t, h)
	assert.LessOrEqual(t, asked, 2*10240)
}

// FuzzHeader: when every address is mapped to one of the same length, nothing
// else changes.
func FuzzHeader(f *testing.F) {
	for _, seed := range []string{"a@b", "x <a@b>, c@d", "g: a@b;", "(a@b) \"x\"@y", "<a@b", "a@[::1]", "a@b\r\n c@d", "\\", "\"\\"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		field, err := mtakit.NewField("To", value)
		if err != nil {
			return
		}
		h := &mtakit.Header{}
		h.Prepend(field)
		c := &rewrite.Canonical{Both: rewrite.TableFunc(func(_ context.Context, key string) (string, bool, error) {
			if key == "new@example.org" || strings.HasPrefix(key, "@") {
				return "", false, nil
			}
			return "new@example.org", true, nil
		})}
		got, err := c.RewriteHeader(t.Context(), h)
		if err != nil {
			t.Fatalf("%q: %v", value, err)
		}
		if got == nil {
			return
		}
		again, err := c.RewriteHeader(t.Context(), got)
		if err != nil || again != nil {
			t.Fatalf("%q becomes %q and then changes again: %v", value, got.Bytes(), err)
		}
		if got.Len() != 1 || strings.Count(string(got.Bytes()), "\n") > strings.Count(string(h.Bytes()), "\n") {
			t.Fatalf("%q becomes %q", value, got.Bytes())
		}
	})
}

func TestCleanupFields(t *testing.T) {
	t.Parallel()
	raw := "Received: one\r\nBCC: secret@example.org\r\nSubject:  x \r\nReturn-Path: <a@b>\r\nresent-bcc: y\r\nContent-Length: 5\r\nX-Bcc: kept\r\n\r\nbody"
	ours := &mtakit.Envelope{Sender: "a@example.org", Recipients: []mtakit.Recipient{rcpt("b@example.org")}, Arrival: time.Date(2026, 11, 27, 10, 0, 0, 0, time.UTC)}
	theirs := ours.Clone()
	theirs.Client.Addr = netip.MustParseAddrPort("192.0.2.1:25")
	after := func(c *rewrite.Cleanup, env *mtakit.Envelope, raw string) string {
		m := mtakit.NewMessage([]byte(raw))
		v, err := c.Filter(t.Context(), env.Clone(), m)
		require.NoError(t, err)
		require.Nil(t, v.Reply)
		return string(m.Header.Bytes())
	}
	kept := "Received: one\r\nSubject:  x \r\nX-Bcc: kept\r\n\r\n"
	assert.Equal(t, kept, after(&rewrite.Cleanup{}, ours, raw))
	assert.Equal(t, strings.TrimSuffix(raw, "body"), after(&rewrite.Cleanup{Drop: []string{}}, ours, raw))
	assert.Equal(t, "Received: one\r\n\r\n", after(&rewrite.Cleanup{Drop: []string{"subject"}}, ours, "Received: one\r\nSubject: x\r\n\r\n"))

	to := &rewrite.Cleanup{Undisclosed: "undisclosed-recipients:;"}
	assert.Equal(t, strings.TrimSuffix(kept, "\r\n")+"To: undisclosed-recipients:;\r\n\r\n", after(to, ours, raw))
	assert.Equal(t, "CC: x\r\n\r\n", after(to, ours, "CC: x\r\n\r\n"))
	assert.Equal(t, kept, after(to, theirs, raw), "To may be signed, by its absence too")

	missing := &rewrite.Cleanup{Missing: &rewrite.Missing{Hostname: "mx.example.org"}}
	got := after(missing, ours, "From: x@y\r\n\r\n")
	assert.Contains(t, got, "Date: Fri, 27 Nov 2026 10:00:00 +0000 (UTC)\r\n")
	assert.Contains(t, got, "@mx.example.org>\r\n")
	assert.Equal(t, 1, strings.Count(got, "From:"))
	assert.Equal(t, "From: x@y\r\n\r\n", after(missing, theirs, "From: x@y\r\n\r\n"), "other people's mail stays as it is")

	// As Postfix, whose hopcount_limit of 50 counts its own field.
	for n, refused := range map[int]bool{48: false, 49: true, 50: true} {
		v, err := (&rewrite.Cleanup{}).Filter(t.Context(), ours.Clone(), mtakit.NewMessage([]byte(strings.Repeat("Received: x\r\n", n)+"\r\n")))
		require.NoError(t, err)
		require.Equal(t, refused, v.Reply != nil)
		if refused {
			assert.Equal(t, "554 5.4.0 too many hops", fmt.Sprintf("%d %d.%d.%d %s", v.Reply.Code, v.Reply.EnhancedCode[0], v.Reply.EnhancedCode[1], v.Reply.EnhancedCode[2], v.Reply.Message))
		}
	}
	v, err := (&rewrite.Cleanup{}).Filter(t.Context(), &mtakit.Envelope{}, mtakit.NewMessage([]byte(raw)))
	require.NoError(t, err)
	assert.Equal(t, 550, v.Reply.Code)
}

// FuzzCleanup has any message go through: what is not meant stays, byte for byte.
func FuzzCleanup(f *testing.F) {
	f.Add("From: a\r\nBcc: b\r\n\tc\r\nTo: <x@y>\r\n\r\nbody")
	f.Add("Subject: \xff\n (\nTo: \"a\r\n\r\n")
	f.Fuzz(func(t *testing.T, raw string) {
		c := &rewrite.Cleanup{Canonical: &rewrite.Canonical{Both: table{"x@y": "z@y"}}, Hops: 1000}
		m, before := mtakit.NewMessage([]byte(raw)), mtakit.NewMessage([]byte(raw))
		_, err := c.Filter(t.Context(), &mtakit.Envelope{Sender: "a@b", Recipients: []mtakit.Recipient{rcpt("x@y")}}, m)
		require.NoError(t, err)
		var want []string
		for _, f := range before.Header.All() {
			if f.Is("Bcc") || f.Is("Resent-Bcc") || f.Is("Return-Path") || f.Is("Content-Length") {
				continue
			}
			want = append(want, string(f.Raw()))
		}
		require.Equal(t, len(want), m.Header.Len())
		for i, f := range m.Header.All() {
			if !strings.Contains(want[i], "x@y") {
				require.Equal(t, want[i], string(f.Raw()))
			}
		}
	})
}

package smtpserver

import (
	"context"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
)

func TestReceived(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 2, 10, 0, 0, 0, time.UTC)
	tests := []struct {
		name string
		env  mtakit.Envelope
		want string
	}{
		{"plain", mtakit.Envelope{
			Client:     mtakit.Client{HELO: "c.example.org", Name: "mail.example.org", Addr: netip.MustParseAddrPort("192.0.2.1:25"), Protocol: "ESMTP"},
			Recipients: []mtakit.Recipient{{Address: "b@example.net", Original: "alias@example.net"}}},
			"from c.example.org (mail.example.org [192.0.2.1])\r\n\tby mx.example.test (mtakit) with ESMTP id s1-7\r\n\tfor <alias@example.net>; Mon,  2 Nov 2026 10:00:00 +0000 (UTC)"},
		{"TLS", mtakit.Envelope{
			Client: mtakit.Client{HELO: "[IPv6:2001:db8::1]", Addr: netip.MustParseAddrPort("[2001:db8::1]:25"), Protocol: "ESMTPS",
				TLS: mtakit.TLS{Version: "TLSv1.3", Cipher: "TLS_AES_128_GCM_SHA256", Peer: "evil) from (x"}},
			Recipients: make([]mtakit.Recipient, 2)},
			"from [IPv6:2001:db8::1] (unknown [IPv6:2001:db8::1])\r\n\t(using TLSv1.3 with cipher TLS_AES_128_GCM_SHA256)\r\n\t(Client CN evil??from??x (verified OK))\r\n\tby mx.example.test (mtakit) with ESMTPS id s1-7; Mon,  2 Nov 2026 10:00:00 +0000 (UTC)"},
		{"injection", mtakit.Envelope{
			Client:     mtakit.Client{HELO: "a\r\nBcc: x(\\)\x00ü", Name: "b;\n c", Protocol: "SMTP\r\nX"},
			Recipients: []mtakit.Recipient{{Address: "\"a\r\nX: y\"@example.net"}}},
			"from a??Bcc:?x?????? (b???c)\r\n\tby mx.example.test (mtakit) with SMTP??X id s1-7; Mon,  2 Nov 2026 10:00:00 +0000 (UTC)"},
		{"unicode", mtakit.Envelope{Options: smtp.MailOptions{UTF8: true},
			Client:     mtakit.Client{HELO: "ü.example", Protocol: "UTF8SMTP"},
			Recipients: []mtakit.Recipient{{Address: "ü@example.net"}}},
			"from ü.example (unknown)\r\n\tby mx.example.test (mtakit) with UTF8SMTP id s1-7\r\n\tfor <ü@example.net>; Mon,  2 Nov 2026 10:00:00 +0000 (UTC)"},
		{"unicode unasked", mtakit.Envelope{Recipients: []mtakit.Recipient{{Address: "ü@example.net"}}},
			"from unknown (unknown)\r\n\tby mx.example.test (mtakit) with unknown id s1-7; Mon,  2 Nov 2026 10:00:00 +0000 (UTC)"},
		{"long", mtakit.Envelope{Recipients: []mtakit.Recipient{{Address: strings.Repeat("a", 600) + "@example.net"}}},
			"from unknown (unknown)\r\n\tby mx.example.test (mtakit) with unknown id s1-7; Mon,  2 Nov 2026 10:00:00 +0000 (UTC)"},
	}
	for _, tt := range tests {
		v := &visit{host: "mx.example.test", count: 7}
		v.s.ID, v.s.Envelope = "s1", &tt.env
		got := string(v.received(nil, &tt.env, at))
		assert.Equal(t, "Received: "+tt.want, got, tt.name)
		_, err := mtakit.ParseField(got)
		assert.NoError(t, err, tt.name)
	}
}

// Whatever a client says of itself, the field stays one field of short lines.
func FuzzReceived(f *testing.F) {
	f.Add("client.example.org", "name", "user@example.org", "CN", true)
	f.Add("a\r\nBcc: b", "\x00", "\"\r\n\"@x", "\n", false)
	f.Fuzz(func(t *testing.T, helo, name, to, peer string, unicode bool) {
		helo = heloName([]byte(helo)) // what both hosts do
		env := &mtakit.Envelope{Options: smtp.MailOptions{UTF8: unicode}, Recipients: []mtakit.Recipient{{Address: to}},
			Client: mtakit.Client{HELO: helo, Protocol: "ESMTP", TLS: mtakit.TLS{Version: "TLSv1.3", Cipher: "x", Peer: peer}}}
		if isHostName(name) {
			env.Client.Name = name
		}
		v := &visit{host: "mx.example.test"}
		v.s.ID, v.s.Envelope = "s1", env
		field, err := mtakit.ParseField(string(v.received(nil, env, time.Now())))
		require.NoError(t, err)
		require.Equal(t, "Received", field.Name())
		for line := range strings.SplitSeq(string(field.Raw()), "\r\n") {
			require.LessOrEqual(t, len(line), 998)
		}
		h, n := mtakit.ParseHeader(append(field.Raw(), "\r\n"...))
		require.Equal(t, 1, h.Len())
		require.Equal(t, len(field.Raw())+2, n)
	})
}

func TestMissing(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 2, 10, 0, 0, 0, time.UTC)
	permit := RestrictionFunc(func(context.Context, *mtakit.Session) (mtakit.Verdict, error) {
		return mtakit.Verdict{Action: mtakit.Permit}, nil
	})
	tests := []struct {
		name, header, sender string
		by                   Restriction
		want                 string
	}{
		{"all", "Subject: x\r\n", "a@example.org", permit, "Date: Mon,  2 Nov 2026 10:00:00 +0000 (UTC)\r\nMessage-ID: <20261102100000.s1-1@mx.example.test>\r\nFrom: a@example.org\r\n"},
		{"null sender", "DATE: x\r\nmessage-id: x\r\n", "", permit, "From: MAILER-DAEMON@mx.example.test\r\n"},
		{"sender that is no header text", "Date: x\r\nMessage-Id: x\r\n", "\"a\r\nX: y\"@example.org", permit, "From: MAILER-DAEMON@mx.example.test\r\n"},
		{"none", "Date: x\r\nMessage-Id: x\r\nFrom: x\r\n", "a@example.org", permit, ""},
		{"resent", "Resent-From: x\r\nResent-Message-ID: y\r\n", "a@example.org", permit, "Resent-Date: Mon,  2 Nov 2026 10:00:00 +0000 (UTC)\r\n"},
		{"nobody asked for it", "", "a@example.org", nil, ""},
		{"stranger", "", "a@example.org", RestrictionFunc(func(context.Context, *mtakit.Session) (mtakit.Verdict, error) {
			return mtakit.Verdict{}, nil
		}), ""},
		{"nobody knows", "", "a@example.org", RestrictionFunc(func(context.Context, *mtakit.Session) (mtakit.Verdict, error) {
			return mtakit.Verdict{}, io.ErrUnexpectedEOF
		}), ""},
	}
	for _, tt := range tests {
		v := &visit{in: &Intake{AddMissing: tt.by}, ctx: t.Context(), host: "mx.example.test", count: 1}
		v.s.ID = "s1"
		h, _ := mtakit.ParseHeader([]byte(tt.header + "\r\n"))
		got := ""
		for _, f := range v.missing(nil, &mtakit.Envelope{Sender: tt.sender}, h, at) {
			got += string(f.Raw())
		}
		assert.Equal(t, tt.want, got, tt.name)
	}
}

// nothing is a queue that keeps nothing, so that only the intake is measured.
type nothing struct{ raw []byte }

func (n *nothing) Write(p []byte) (int, error) {
	n.raw = append(n.raw, p...)
	return len(p), nil
}

func (n *nothing) Message(context.Context) (*mtakit.Message, error) {
	return mtakit.NewMessage(n.raw), nil
}

func (n *nothing) Commit(context.Context, *mtakit.Envelope, *mtakit.Message) (string, error) {
	return "3K2x9", nil
}

func (n *nothing) Discard() error { return nil }

// BenchmarkIntake is a whole transaction through the session's methods: one
// recipient and a message of 2 KiB.
func BenchmarkIntake(b *testing.B) {
	draft := &nothing{}
	in := &Intake{
		Queue: QueueFunc(func(context.Context, int64) (mtakit.Draft, error) {
			draft.raw = draft.raw[:0]
			return draft, nil
		}),
		Restrictions: RestrictionFunc(func(context.Context, *mtakit.Session) (mtakit.Verdict, error) {
			return mtakit.Verdict{Action: mtakit.Permit}, nil
		}),
	}
	client := mtakit.Client{ID: "0x3k1qrs8zzab", HELO: "client.example.org", Protocol: "ESMTP", Addr: netip.MustParseAddrPort("192.0.2.1:1234")}
	v := &visit{in: in, ctx: b.Context(), host: "mx.example.test",
		facts: func() mtakit.Client { return client }, secured: func() bool { return false }}
	message := "From: a@example.org\r\nTo: b@example.net\r\nDate: Thu, 1 Jan 2026 00:00:00 +0000\r\nSubject: x\r\n\r\n" + strings.Repeat(strings.Repeat("x", 62)+"\r\n", 31)
	mail, rcpt := &smtp.MailOptions{Size: int64(len(message))}, &smtp.RcptOptions{}
	r := strings.NewReader(message)
	b.ReportAllocs()
	b.SetBytes(int64(len(message)))
	for b.Loop() {
		r.Reset(message)
		require.NoError(b, v.Mail("a@example.org", mail))
		require.NoError(b, v.Rcpt("b@example.net", rcpt))
		require.NoError(b, v.BeforeData(b.Context()))
		reply, _ := mtakit.AsReply(v.Data(r))
		require.Equal(b, 250, reply.Code)
		v.Reset()
	}
}

package main

import (
	"context"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const accessTable = `127.0.0.10                   REJECT
Connect:127.0.1              550 5.7.1 use your provider's server
Connect:127.0.1.7            OK
192.168.119                  REJECT go away
From:spammer@example.com     REJECT we know you
bulk.example.com             REJECT
From:good@bulk.example.com   OK
sender@open.example          OK
Helo:open.example            OK
Helo:liar.example            REJECT you are not me
alice@example.test           REJECT
To:carol@example.test        REJECT not today
Connect:liar.example         REJECT
`

// TestAccess: clients are 127.x here, and all of them strangers.
func TestAccess(t *testing.T) {
	t.Parallel()
	p := launch(t, tablesIn(t, map[string]string{"networks": "[::1]/128\n", "access": accessTable}))
	tests := []struct{ name, client, helo, from, to, reply string }{
		{"untagged key for a client", "127.0.0.10", "c.example", "a@example.net", "alice@example.test", "554 5.7.1 <unknown[127.0.0.10]>: Client host rejected: Access denied"},
		{"prefix of a network", "127.0.1.3", "c.example", "a@example.net", "alice@example.test", "550 5.7.1 <unknown[127.0.1.3]>: Client host rejected: use your provider's server"},
		{"address before its prefix", "127.0.1.7", "c.example", "a@example.net", "bob@example.test", "250 2.1.5"},
		{"OK for a client does not relay", "127.0.1.7", "c.example", "a@example.net", "b@elsewhere.example", "554 5.7.1 <b@elsewhere.example>: Relay access denied"},
		{"sender with a tag", "127.0.0.1", "c.example", "spammer@example.com", "bob@example.test", "554 5.7.1 <spammer@example.com>: Sender address rejected: we know you"},
		{"sender's parent domain, without a tag", "127.0.0.1", "c.example", "x@sub.bulk.example.com", "bob@example.test", "554 5.7.1 <x@sub.bulk.example.com>: Sender address rejected: Access denied"},
		{"address before its domain", "127.0.0.1", "c.example", "good@bulk.example.com", "bob@example.test", "250 2.1.5"},
		{"OK for a sender does not relay", "127.0.0.1", "c.example", "sender@open.example", "b@elsewhere.example", "554 5.7.1 "},
		{"OK for a HELO name does not relay", "127.0.0.1", "open.example", "a@example.net", "b@elsewhere.example", "554 5.7.1 "},
		{"HELO with a tag", "127.0.0.1", "liar.example", "a@example.net", "bob@example.test", "554 5.7.1 <liar.example>: Helo command rejected: you are not me"},
		{"untagged keys are not for HELO", "127.0.0.1", "bulk.example.com", "a@example.net", "bob@example.test", "250 2.1.5"},
		{"untagged keys are not for recipients", "127.0.0.1", "c.example", "a@example.net", "alice@example.test", "250 2.1.5"},
		{"untagged keys are for senders", "127.0.0.1", "c.example", "alice@example.test", "bob@example.test", "554 5.7.1 "},
		{"recipient with a tag", "127.0.0.1", "c.example", "a@example.net", "carol@example.test", "554 5.7.1 <carol@example.test>: Recipient address rejected: not today"},
		{"others", "127.0.0.1", "c.example", "a@example.net", "bob@example.test", "250 2.1.5"},
		{"nobody", "127.0.0.1", "c.example", "", "bob@example.test", "250 2.1.5"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dialFrom(t, tt.client, p.smtp).talk("EHLO "+tt.helo, "250", "MAIL FROM:<"+tt.from+">", "250 2.1.0", "RCPT TO:<"+tt.to+">", tt.reply)
		})
	}
}

// TestAccessFromElsewhere is about clients that cannot come over loopback.
func TestAccessFromElsewhere(t *testing.T) {
	t.Parallel()
	c, err := parseFlags([]string{"-dir", tablesIn(t, map[string]string{"access": accessTable}), "-smtp", "127.0.0.1:0", "-submission", "", "-log", "off"}, nil)
	require.NoError(t, err)
	s, err := open(c, newLogger("off", nil))
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error)
	go func() { served <- s.serve(ctx) }()
	for client, reply := range map[string]string{
		"192.168.119.34": "554 5.7.1 <unknown[192.168.119.34]>: Client host rejected: go away",
		"192.168.120.34": "250 2.1.5",
		"192.168.11.9":   "250 2.1.5",
		"2001:db8::1":    "250 2.1.5",
	} {
		addr, err := s.listenAs(netip.MustParseAddr(client))
		require.NoError(t, err)
		p := dial(t, addr)
		p.talk("EHLO c.example", "250", "MAIL FROM:<a@example.net>", "250", "RCPT TO:<alice@example.test>", reply,
			"RCPT TO:<b@elsewhere.example>", "554 5.7.1 ", "QUIT", "221 2.0.0 Bye")
	}
	stop()
	assert.NoError(t, <-served)
}

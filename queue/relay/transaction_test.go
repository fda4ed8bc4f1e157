package relay_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/queue/relay"
)

var noAddresses = []netip.Addr{}

// TestReplies has what a server may answer to each command, and what becomes of
// two recipients, with pipelining and without.
func TestReplies(t *testing.T) {
	t.Parallel()
	type replies = map[string][]string
	tests := []struct {
		name     string
		greeting string
		replies  replies
		want     []string
		messages int
	}{
		{"all well", "", nil, []string{"relayed 2.1.0", "relayed 2.1.0"}, 1},
		{"one unknown", "", replies{"RCPT TO:<a@": {"550 5.1.1 no such user"}}, []string{"bounced 5.1.1", "relayed 2.1.0"}, 1},
		{"one later", "", replies{"RCPT TO:<b@": {"450 4.2.0 greylisted"}}, []string{"relayed 2.1.0", "deferred 4.2.0"}, 1},
		{"all unknown", "", replies{"RCPT": {"550 no"}}, []string{"bounced 5.0.0", "bounced 5.0.0"}, 0},
		{"all unknown and DATA refused", "", replies{"RCPT": {"550 no"}, "DATA": {"554 no valid recipients"}}, []string{"bounced 5.0.0", "bounced 5.0.0"}, 0},
		{"too many", "", replies{"RCPT TO:<b@": {"452 4.5.3 too many", ""}}, []string{"relayed 2.1.0", "relayed 2.1.0"}, 2},
		{"too many by an old code", "", replies{"RCPT TO:<b@": {"552 too many", ""}}, []string{"relayed 2.1.0", "relayed 2.1.0"}, 2},
		{"too many, always", "", replies{"RCPT TO:<b@": {"452 4.5.3 too many"}}, []string{"relayed 2.1.0", "deferred 4.5.3"}, 1},
		{"sender refused", "", replies{"MAIL": {"553 5.1.8 no"}, "RCPT": {"503 what"}, "DATA": {"503 what"}}, []string{"bounced 5.1.8", "bounced 5.1.8"}, 0},
		{"sender later", "", replies{"MAIL": {"451 4.1.8 later"}, "RCPT": {"503 what"}, "DATA": {"503 what"}}, []string{"deferred 4.1.8", "deferred 4.1.8"}, 0},
		{"sender refused and DATA taken", "", replies{"MAIL": {"553 5.1.8 no"}}, []string{"bounced 5.1.8", "bounced 5.1.8"}, 0},
		{"DATA refused", "", replies{"DATA": {"554 5.7.1 no"}}, []string{"bounced 5.7.1", "bounced 5.7.1"}, 0},
		{"DATA later", "", replies{"DATA": {"451 no"}}, []string{"deferred 4.0.0", "deferred 4.0.0"}, 0},
		{"end refused", "", replies{".": {"554 5.6.0 no"}}, []string{"bounced 5.6.0", "bounced 5.6.0"}, 1},
		{"end later", "", replies{".": {"451 4.3.0 no"}}, []string{"deferred 4.3.0", "deferred 4.3.0"}, 1},
		{"another class in the code", "", replies{".": {"451 5.3.0 no"}}, []string{"deferred 4.0.0", "deferred 4.0.0"}, 1},
		{"greeting 5xx", "554 5.7.1 go away", nil, []string{"deferred 4.7.1 site", "deferred 4.7.1 site"}, 0},
		{"greeting 4xx", "450 later", nil, []string{"deferred 4.0.0 site", "deferred 4.0.0 site"}, 0},
		{"greeting 421", "421 4.3.2 busy", nil, []string{"deferred 4.3.2 site", "deferred 4.3.2 site"}, 0},
		{"EHLO 5xx, HELO", "", replies{"EHLO": {"502 what"}}, []string{"relayed 2.1.0", "relayed 2.1.0"}, 1},
		{"EHLO and HELO 5xx", "", replies{"EHLO": {"550 no"}, "HELO": {"550 5.7.1 no"}}, []string{"bounced 5.7.1", "bounced 5.7.1"}, 0},
		{"EHLO 4xx", "", replies{"EHLO": {"450 later"}}, []string{"deferred 4.0.0 site", "deferred 4.0.0 site"}, 0},
		{"EHLO 421", "", replies{"EHLO": {"421 later"}}, []string{"deferred 4.0.0 site", "deferred 4.0.0 site"}, 0},
		{"MAIL 421", "", replies{"MAIL": {"421 4.3.2 bye"}}, []string{"deferred 4.3.2 site", "deferred 4.3.2 site"}, 0},
		{"RCPT 421", "", replies{"RCPT TO:<a@": {"550 5.1.1 no"}, "RCPT TO:<b@": {"421 4.3.2 bye"}}, []string{"bounced 5.1.1", "deferred 4.3.2 site"}, 0},
		{"DATA 421", "", replies{"RCPT TO:<a@": {"450 4.2.1 no"}, "DATA": {"421 4.3.2 bye"}}, []string{"deferred 4.2.1", "deferred 4.3.2 site"}, 0},
		{"end 421", "", replies{".": {"421 4.3.2 bye"}}, []string{"deferred 4.3.2 site", "deferred 4.3.2 site"}, 1},
		{"354 to MAIL", "", replies{"MAIL": {"354 go"}}, []string{"deferred 4.5.0", "deferred 4.5.0"}, 0},
		{"250 to DATA", "", replies{"DATA": {"250 fine"}}, []string{"deferred 4.5.0", "deferred 4.5.0"}, 0},
		{"354 to the end", "", replies{".": {"354 go on"}}, []string{"deferred 4.5.0", "deferred 4.5.0"}, 1},
		{"close at the greeting", "", replies{"GREETING": {"close"}}, []string{"deferred 4.4.2 site", "deferred 4.4.2 site"}, 0},
		{"close at EHLO", "", replies{"EHLO": {"close"}}, []string{"deferred 4.4.2 site", "deferred 4.4.2 site"}, 0},
		{"close at MAIL", "", replies{"MAIL": {"close"}}, []string{"deferred 4.4.2 site", "deferred 4.4.2 site"}, 0},
		{"close at the second RCPT", "", replies{"RCPT TO:<b@": {"close"}}, []string{"deferred 4.4.2", "deferred 4.4.2"}, 0},
		{"close at DATA", "", replies{"DATA": {"close"}}, []string{"deferred 4.4.2", "deferred 4.4.2"}, 0},
		{"close at the end", "", replies{".": {"close"}}, []string{"deferred 4.4.2", "deferred 4.4.2"}, 1},
		{"reset at MAIL", "", replies{"MAIL": {"reset"}}, []string{"deferred 4.4.2 site", "deferred 4.4.2 site"}, 0},
		{"reset at DATA", "", replies{"DATA": {"reset"}}, []string{"deferred 4.4.2", "deferred 4.4.2"}, 0},
		{"reset at the end", "", replies{".": {"reset"}}, []string{"deferred 4.4.2", "deferred 4.4.2"}, 1},
		{"garbage for a greeting", "HTTP/1.1 400 Bad Request", nil, []string{"deferred 4.5.0 site", "deferred 4.5.0 site"}, 0},
		{"NUL in a reply", "", replies{"RCPT TO:<a@": {"550 5.1.1 no\x00\x1b[31m user"}}, []string{"bounced 5.1.1", "relayed 2.1.0"}, 1},
		{"endless line", "", replies{"MAIL": {strings.Repeat("x", 100_000)}}, []string{"deferred 4.5.0 site", "deferred 4.5.0 site"}, 0},
		{"endless lines", "", replies{"MAIL": {strings.Repeat("250-x\r\n", 10_000)}}, []string{"deferred 4.5.0 site", "deferred 4.5.0 site"}, 0},
		{"replies before commands", "220 mx\r\n250 a\r\n250 b\r\n250 c\r\n354 go\r\n250 2.0.0 taken", nil, []string{"deferred 4.5.0 site", "deferred 4.5.0 site"}, 0},
		{"multi-line replies", "220-mx\r\n220 hello", replies{"RCPT TO:<a@": {"550-5.1.1 no\r\n550 5.1.1 such user"}}, []string{"bounced 5.1.1", "relayed 2.1.0"}, 1},
	}
	for _, tt := range tests {
		for _, offers := range [][]string{nil, {"PIPELINING", "SIZE 1000", "8BITMIME"}} {
			t.Run(tt.name+strings.Join(offers, ""), func(t *testing.T) {
				t.Parallel()
				p := &peer{greeting: tt.greeting, offers: offers, replies: tt.replies}
				if tt.name != "all well" && tt.replies == nil && tt.greeting == "" {
					t.Fatal("nothing scripted")
				}
				results := deliver(t, agent(t), delivery(fixed(p.start(t)), "a@example.org", "b@example.org"))
				want := slices.Clone(tt.want)
				for i, w := range want {
					// The end of data is answered with 2.0.0.
					want[i] = strings.ReplaceAll(w, "relayed 2.1.0", "relayed 2.0.0")
				}
				assert.Equal(t, want, briefs(results))
				messages := slices.DeleteFunc(p.mail(), func(s string) bool { return s == ".\r\n" })
				assert.Len(t, messages, tt.messages)
				for _, m := range messages {
					assert.Equal(t, text+".\r\n", m)
				}
				for _, r := range results {
					assert.NotContains(t, r.Diagnostic, "\x00")
					if r.Reply != nil {
						assert.Contains(t, r.Remote, "127.0.0.1[127.0.0.1]:")
						assert.NotContains(t, r.Reply.Message, "\x1b")
					}
				}
			})
		}
	}
}

// TestLoneDot: everybody was refused, DATA was sent along and is answered with
// 354. Nothing but a dot may follow, and the connection stays in order.
func TestLoneDot(t *testing.T) {
	t.Parallel()
	p := &peer{offers: []string{"PIPELINING"}, replies: map[string][]string{"RCPT": {"550 5.1.1 no", ""}}}
	a := agent(t, func(a *relay.Agent) { a.IdleTime = 0 })
	hop := fixed(p.start(t))
	assert.Equal(t, []string{"bounced 5.1.1"}, briefs(deliver(t, a, delivery(hop, "a@example.org"))))
	assert.Equal(t, []string{"relayed 2.0.0"}, briefs(deliver(t, a, delivery(hop, "a@example.org"))))
	assert.Equal(t, []string{".\r\n", text + ".\r\n"}, p.mail())
	assert.Equal(t, 1, p.connections())
}

func TestParameters(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		offers []string
		change func(*mtakit.Envelope, *mtakit.Recipient)
		want   []string
		brief  string
	}{
		{"nothing offered", nil, func(e *mtakit.Envelope, r *mtakit.Recipient) {
			e.Options = smtp.MailOptions{Body: smtp.Body8BitMIME, EnvelopeID: "x", Return: smtp.DSNReturnFull}
			r.Options.Notify = []smtp.DSNNotify{smtp.DSNNotifyNever}
		}, []string{"MAIL FROM:<from@client.example.test>", "RCPT TO:<a@example.org>"}, "relayed 2.0.0"},
		{"all offered", []string{"SIZE", "DSN", "8BITMIME", "SMTPUTF8"}, func(e *mtakit.Envelope, r *mtakit.Recipient) {
			e.Options = smtp.MailOptions{Body: smtp.Body8BitMIME, EnvelopeID: "a+b c\r\n", Return: smtp.DSNReturnHeaders}
			r.Options = smtp.RcptOptions{Notify: []smtp.DSNNotify{smtp.DSNNotifySuccess, "X\r\n", smtp.DSNNotifyFailure},
				OriginalRecipientType: smtp.DSNAddressTypeRFC822, OriginalRecipient: "o=o@example.org"}
		}, []string{"MAIL FROM:<from@client.example.test> SIZE=28 BODY=8BITMIME RET=HDRS ENVID=a+2Bb+20c+0D+0A",
			"RCPT TO:<a@example.org> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;o+3Do@example.org"}, "relayed 2.0.0 dsn"},
		{"original address", []string{"DSN"}, func(e *mtakit.Envelope, r *mtakit.Recipient) {
			e.Sender, r.Original = "", "alias@example.org"
		}, []string{"MAIL FROM:<>", "RCPT TO:<a@example.org> ORCPT=rfc822;alias@example.org"}, "relayed 2.0.0 dsn"},
		{"SMTPUTF8", []string{"DSN", "SMTPUTF8", "8BITMIME"}, func(e *mtakit.Envelope, r *mtakit.Recipient) {
			e.Options.UTF8, r.Address = true, "dömi@example.org"
			r.Options.OriginalRecipientType, r.Options.OriginalRecipient = smtp.DSNAddressTypeUTF8, "dömi=\\x@example.org"
		}, []string{"MAIL FROM:<from@client.example.test> BODY=8BITMIME SMTPUTF8",
			`RCPT TO:<dömi@example.org> ORCPT=utf-8;dömi\x{3D}\x{5C}x@example.org`}, "relayed 2.0.0 dsn"},
		{"UTF-8 original in ASCII", []string{"DSN"}, func(_ *mtakit.Envelope, r *mtakit.Recipient) {
			r.Original = "dömi€@example.org"
		}, []string{"MAIL FROM:<from@client.example.test>", `RCPT TO:<a@example.org> ORCPT=utf-8;d\x{F6}mi\x{20AC}@example.org`}, "relayed 2.0.0 dsn"},
		{"SMTPUTF8 needed, not offered", []string{"8BITMIME"}, func(_ *mtakit.Envelope, r *mtakit.Recipient) {
			r.Address = "dömi@example.org"
		}, nil, "bounced 5.6.7"},
		{"SMTPUTF8 declared, not needed", []string{"8BITMIME"}, func(e *mtakit.Envelope, _ *mtakit.Recipient) { e.Options.UTF8 = true },
			[]string{"MAIL FROM:<from@client.example.test>", "RCPT TO:<a@example.org>"}, "relayed 2.0.0"},
		{"too big", []string{"SIZE 27"}, func(*mtakit.Envelope, *mtakit.Recipient) {}, nil, "bounced 5.3.4"},
		{"just right", []string{"SIZE 28"}, func(*mtakit.Envelope, *mtakit.Recipient) {},
			[]string{"MAIL FROM:<from@client.example.test> SIZE=28", "RCPT TO:<a@example.org>"}, "relayed 2.0.0"},
		{"quoted", nil, func(_ *mtakit.Envelope, r *mtakit.Recipient) { r.Address = `"a> b\""@example.org` },
			[]string{"MAIL FROM:<from@client.example.test>", `RCPT TO:<"a> b\""@example.org>`}, "relayed 2.0.0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := &peer{offers: tt.offers}
			d := delivery(fixed(p.start(t)), "a@example.org")
			tt.change(d.Envelope, &d.Recipients[0])
			assert.Equal(t, tt.brief, brief(deliver(t, agent(t), d)[0]))
			var got []string
			for _, c := range p.commands() {
				if strings.HasPrefix(c, "MAIL") || strings.HasPrefix(c, "RCPT") {
					got = append(got, c)
				}
			}
			assert.Equal(t, tt.want, got)
		})
	}
}

// TestInjection: addresses that would be read as something else by the server
// are bounced, and the connection is not even made for them.
func TestInjection(t *testing.T) {
	t.Parallel()
	bad := []string{"", "a@example.org>\r\nRCPT TO:<b@example.org", "a@example.org> NOTIFY=NEVER", "a b@example.org",
		"<a@example.org", "a\x00@example.org", "a\n@example.org", "a\t@example.org", "a\x7f@example.org", `"a@example.org`,
		`"a\`, `a\>@example.org`, "\"a\r\nQUIT\"@example.org", "\"\\\n\"@example.org", "a\xff@example.org", strings.Repeat("a", 5000)}
	p := &peer{}
	hop := fixed(p.start(t))
	for _, address := range bad {
		assert.Equal(t, "bounced 5.1.3", brief(deliver(t, agent(t), delivery(hop, address))[0]), "%q", address)
		if address == "" {
			continue
		}
		d := delivery(hop, "a@example.org")
		d.Envelope.Sender = address
		assert.Equal(t, "bounced 5.1.7", brief(deliver(t, agent(t), d)[0]), "%q", address)
	}
	assert.Zero(t, p.connections())

	results := deliver(t, agent(t), delivery(hop, "good@example.org", "bad@example.org>"))
	assert.Equal(t, []string{"relayed 2.0.0", "bounced 5.1.3"}, briefs(results))
}

func TestPipelining(t *testing.T) {
	t.Parallel()
	var recipients []string
	for i := range 1000 {
		recipients = append(recipients, strings.Repeat("x", i%60+1)+"@example.org")
	}
	p := &peer{offers: []string{"PIPELINING"}, replies: map[string][]string{"RCPT TO:<xx@": {"550 5.1.1 no"}}}
	results := deliver(t, agent(t), delivery(fixed(p.start(t)), recipients...))
	for i, r := range results {
		want := "relayed 2.0.0"
		if recipients[i] == "xx@example.org" {
			want = "bounced 5.1.1"
		}
		require.Equal(t, want, brief(r), "%d", i)
	}
	assert.GreaterOrEqual(t, len(p.commands()), 1+1+1000+1) // QUIT may still be under way
	assert.Equal(t, []string{text + ".\r\n"}, p.mail())
}

func TestRefusedWithoutServer(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(*mtakit.Delivery)
		want   string
	}{
		{"51 hops", func(d *mtakit.Delivery) {
			d.Message = mtakit.NewMessage([]byte(strings.Repeat("Received: x\r\n", 51) + text))
		}, "bounced 5.4.6"},
		{"50 hops", func(d *mtakit.Delivery) {
			d.Message = mtakit.NewMessage([]byte(strings.Repeat("Received: x\r\n", 50) + text))
		}, "deferred 4.4.1 site"},
		{"BINARYMIME", func(d *mtakit.Delivery) { d.Envelope.Options.Body = smtp.BodyBinaryMIME }, "bounced 5.6.3"},
		{"REQUIRETLS", func(d *mtakit.Delivery) { d.Envelope.Options.RequireTLS = true }, "bounced 5.7.30"},
		{"bad next hop", func(d *mtakit.Delivery) { d.NextHop = "a:b:c" }, "deferred 4.3.5"},
		{"bad domain", func(d *mtakit.Delivery) { d.Recipients[0].Address, d.NextHop = "a@ex_%ample.org", "EX_%ample.org" }, "bounced 5.1.2"},
	}
	for _, tt := range tests {
		d := delivery("[127.0.0.1]:1", "a@example.org") // nobody listens at port 1
		tt.change(d)
		assert.Equal(t, tt.want, brief(deliver(t, agent(t), d)[0]), tt.name)
	}
	assert.Empty(t, deliver(t, agent(t), delivery("[127.0.0.1]:1")))
}

// TestDeafPeer: a server that reads nothing while it writes, and writes long
// replies, does not bring a pipelined envelope to a halt.
func TestDeafPeer(t *testing.T) {
	t.Parallel()
	long := "250-" + strings.Repeat(strings.Repeat("x", 70)+"\r\n250-", 20) + "\r\n250 ok"
	p := &peer{offers: []string{"PIPELINING"}, replies: map[string][]string{"RCPT": {long}}}
	var recipients []string
	for range 300 {
		recipients = append(recipients, strings.Repeat("r", 60)+"@example.org")
	}
	for _, r := range deliver(t, agent(t), delivery(fixed(p.start(t)), recipients...)) {
		require.Equal(t, "relayed 2.0.0", brief(r))
	}
}

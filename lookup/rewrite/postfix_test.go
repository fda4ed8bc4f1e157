package rewrite_test

import (
	"fmt"
	"net"
	"net/netip"
	"net/textproto"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/internal/servertest"
	"github.com/mtakit/mtakit/lookup"
	"github.com/mtakit/mtakit/lookup/rewrite"
)

// queued is a message as cleanup(8) leaves it.
type queued struct {
	Sender     string
	Recipients []string // "address < original"
	Header     []string // field by field
}

// posted sends a message to Postfix and returns what it has put into its queue.
// The Received field that Postfix adds is left out.
func posted(t *testing.T, s *servertest.Server, sender string, recipients []string, header string) queued {
	t.Helper()
	answer, err := answered(s, sender, recipients, header)
	require.NoError(t, err)
	_, id, ok := strings.Cut(answer, "queued as ")
	require.True(t, ok, answer)
	return unspooled(s.Postcat(id, "-e"), s.Postcat(id, "-h"))
}

// answered sends a message to Postfix, byte for byte, and returns how it answers to
// the end of the data. The error says what it does not take.
func answered(s *servertest.Server, sender string, recipients []string, header string) (string, error) {
	conn, err := net.Dial("tcp", s.Addr)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return "", err
	}
	c := textproto.NewConn(conn)
	_, answer, err := c.ReadResponse(220)
	say := func(want int, line string) {
		if err == nil {
			err = c.PrintfLine("%s", line)
		}
		if err == nil {
			_, answer, err = c.ReadResponse(want)
		}
	}
	say(250, "EHLO client.example")
	say(250, "MAIL FROM:<"+sender+">")
	for _, r := range recipients {
		say(250, "RCPT TO:<"+r+">")
	}
	say(354, "DATA")
	say(250, header+"\r\nbody\r\n.")
	return answer, err
}

// unspooled reads what postcat has printed.
func unspooled(envelope, header string) (q queued) {
	original := ""
	for line := range strings.Lines(envelope) {
		name, value, _ := strings.Cut(strings.TrimRight(line, "\n"), ": ")
		switch name {
		case "sender":
			q.Sender = value
		case "original_recipient":
			original = value
		case "recipient":
			q.Recipients = append(q.Recipients, value+" < "+original)
		}
	}
	q.Header = fields(strings.ReplaceAll(header, "\n", "\r\n"))[1:]
	return q
}

// fields returns the fields of a header, unfolded.
func fields(header string) (all []string) {
	h, _ := mtakit.ParseHeader([]byte(header + "\r\n"))
	for _, f := range h.All() {
		all = append(all, strings.Join(strings.Fields(string(f.Raw())), " "))
	}
	return all
}

// cleaned is what Cleanup makes of the same message.
func cleaned(t *testing.T, c *rewrite.Cleanup, sender string, recipients []string, header string) (q queued) {
	t.Helper()
	env := &mtakit.Envelope{Sender: sender, Client: mtakit.Client{Addr: netip.MustParseAddrPort("127.0.0.1:1")}}
	for _, r := range recipients {
		env.Recipients = append(env.Recipients, mtakit.Recipient{Address: r})
	}
	m := mtakit.NewMessage([]byte(header + "\r\n"))
	v, err := c.Filter(t.Context(), env, m)
	require.NoError(t, err)
	require.Nil(t, v.Reply)
	q.Sender = unquoted(env.Sender)
	for _, r := range env.Recipients {
		q.Recipients = append(q.Recipients, unquoted(r.Address)+" < "+unquoted(r.OriginalAddress()))
	}
	q.Header = fields(string(m.Header.Bytes()))
	return q
}

// unquoted is the form that Postfix has in its queue.
func unquoted(address string) string {
	local, domain := rewrite.Split(address)
	if domain == "" {
		return rewrite.Unquote(local)
	}
	return rewrite.Unquote(local) + "@" + domain
}

func trivial() *rewrite.Trivial {
	return &rewrite.Trivial{Origin: func() string { return "mx.example.test" }, Domain: func() string { return "example.test" }, BangPaths: true, PercentHack: true}
}

// TestTrivialBesidePostfix rewrites the same addresses by trivial-rewrite(8), in the
// envelope and in the header.
func TestTrivialBesidePostfix(t *testing.T) {
	t.Parallel()
	s := servertest.Postfix(t, "append_dot_mydomain = yes")
	c := &rewrite.Cleanup{Trivial: trivial()}
	for _, address := range []string{
		"user", "User@Host", "user@example.com", "user@example.com.", "user@host.", "host!user", "a.example!b!user", "a!b!user%c", "user%a.example",
		"user%b%a.example", "user%b", "user%a.example@example.com", "host!user@example.com", `"a!b"@host`, "@a.example,@b.example:user@host", "@a:user",
		"user@[192.0.2.1]", "user@[IPv6:2001:db8::1]", `"odd user"`, `"odd user"@host`, `"a@b"@c`, `"a\"b"@c`, "a.b@c", ".a@c", "a..b@c", "a.@c",
		"a@b@c", "a%b@c@d", "user+ext@host", "postmaster", "user@host.sub", "a!b@c", "a!b%c",
	} {
		header := "Subject: x\r\nTo: <" + address + ">\r\n"
		want, got := posted(t, s, address, []string{address}, header), cleaned(t, c, address, []string{address}, header)
		want.Header = want.Header[:2] // the others are those that it lacked
		for _, q := range []queued{want, got} {
			q.Header[1] = unquoted(strings.Trim(strings.TrimPrefix(q.Header[1], "To: "), "<>"))
		}
		if strings.HasPrefix(address, "@") { // smtpd(8) has dropped the route
			got.Recipients[0], want.Recipients[0] = addressOf(got.Recipients[0]), addressOf(want.Recipients[0])
		}
		assert.Equal(t, want, got, address)
	}
}

func addressOf(recipient string) string {
	address, _, _ := strings.Cut(recipient, " < ")
	return address
}

// tablesOf writes tables into a folder, and returns its path and how to open them.
func tablesOf(t *testing.T, files map[string]string) (dir string, open func(name string) rewrite.Table) {
	t.Helper()
	dir = t.TempDir()
	for name, text := range files {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	return dir, func(name string) rewrite.Table {
		table, err := lookup.OpenHash(filepath.Join(dir, name), lookup.Options{})
		require.NoError(t, err)
		return table
	}
}

// made are the values of the fields that were missing.
var made = regexp.MustCompile(`(?i)^((?:Resent-)?)(Message-ID|Date): (<\d{14}\.\w+@mx\.example\.test>|\w{3}, .* \+0000 \(UTC\))$`)

// comparable takes out what is meant to differ: an address gets one copy here, and
// in Postfix one for each address that leads to it (enable_original_recipient);
// Postfix puts the fields that were missing below the others, and names the null
// sender in a From field without a domain.
func (q queued) comparable() queued {
	slices.SortStableFunc(q.Recipients, func(a, b string) int { return strings.Compare(addressOf(a), addressOf(b)) })
	q.Recipients = slices.CompactFunc(q.Recipients, func(a, b string) bool { return strings.EqualFold(addressOf(a), addressOf(b)) })
	for i, f := range q.Header {
		q.Header[i] = made.ReplaceAllStringFunc(f, func(f string) string {
			name, _, _ := strings.Cut(f, ":")
			return strings.ToLower(name)
		})
		if f == "From: MAILER-DAEMON@mx.example.test" {
			q.Header[i] = "From: MAILER-DAEMON"
		}
	}
	slices.Sort(q.Header)
	return q
}

// TestCleanupBesidePostfix sends the same mail through cleanup(8), with all tables.
func TestCleanupBesidePostfix(t *testing.T) {
	t.Parallel()
	dir, open := tablesOf(t, map[string]string{
		"canonical":           "old@example.org new@example.org\n@old.example @new.example\nplain dotted.name\nloop@example.org loop@example.org\nhost@example.org someone@deep.example.net\nquoted@example.org \"odd name\"@example.org\n",
		"sender_canonical":    "alice@example.org Alice.Example@example.org\nroot@mx.example.test admin@example.org\n",
		"recipient_canonical": "alice.example@example.org alice@example.org\nshop@example.org sales@example.org\n",
		"virtual":             "team@example.org alice@example.org, bob@example.net\nnest@example.org team@example.org, carol@example.net\n@domain.example @other.example\nstay@domain.example stay@domain.example\nself@example.org self@example.org copy@example.org\nbare@example.org local1 local2\nchain@example.org nest@example.org\n",
		"sender_bcc":          "alice.example@example.org old@example.org\n",
		"recipient_bcc":       "sales@example.org sales-log@example.com\n@new.example all@log.example\n",
	})
	s := servertest.Postfix(t, "append_dot_mydomain = yes", "recipient_delimiter = +", "masquerade_domains = example.net", "masquerade_exceptions = root",
		"canonical_maps = texthash:"+dir+"/canonical", "sender_canonical_maps = texthash:"+dir+"/sender_canonical", "recipient_canonical_maps = texthash:"+dir+"/recipient_canonical",
		"virtual_alias_maps = texthash:"+dir+"/virtual", "sender_bcc_maps = texthash:"+dir+"/sender_bcc", "recipient_bcc_maps = texthash:"+dir+"/recipient_bcc",
		"always_bcc = everything", "undisclosed_recipients_header = To: undisclosed-recipients:;")
	origin := func() string { return "mx.example.test" }
	keys := rewrite.Keys{Delimiter: "+", Local: lookup.Inline{"mx.example.test": ""}}
	c := &rewrite.Cleanup{
		Trivial:     trivial(),
		Canonical:   &rewrite.Canonical{Both: open("canonical"), Sender: open("sender_canonical"), Recipient: open("recipient_canonical"), Keys: keys, Origin: origin},
		Masquerade:  &rewrite.Masquerade{Domains: []string{"example.net"}, Exceptions: lookup.Inline{"root": ""}},
		BCC:         &rewrite.BCC{Always: "everything", Sender: open("sender_bcc"), Recipient: open("recipient_bcc"), Keys: keys, Origin: origin},
		Expander:    &rewrite.Expander{Virtual: &rewrite.Virtual{Table: open("virtual"), Keys: keys, Origin: origin}},
		Missing:     &rewrite.Missing{Hostname: "mx.example.test"},
		Undisclosed: "undisclosed-recipients:;",
	}
	const whole = "Date: Thu, 1 Jan 1970 00:00:00 +0000\r\nMessage-Id: <1@example.org>\r\n"
	for name, mail := range map[string]struct {
		sender     string
		recipients []string
		header     string
	}{
		"plain":             {"someone@example.com", []string{"bob@example.com"}, whole + "From: x@example.com\r\nTo: bob@example.com\r\n"},
		"canonical":         {"old@example.org", []string{"old+ext@example.org", "u@old.example"}, whole + "From: Old <old@example.org>\r\nTo: old+ext@example.org (Old), u@old.example\r\n"},
		"sender":            {"alice@example.org", []string{"alice.example@example.org"}, whole + "From: alice@example.org\r\nTo: Alice.Example@example.org\r\n"},
		"bare":              {"root", []string{"plain"}, whole + "From: root\r\nTo: plain\r\nCc: other@host\r\n"},
		"masquerade":        {"u@host.example.net", []string{"host@example.org", "u@host.example.net"}, whole + "From: u@host.example.net\r\nTo: host@example.org, root@host.example.net\r\n"},
		"virtual":           {"x@example.com", []string{"team@example.org", "alice@example.org"}, whole + "From: x@example.com\r\nTo: team@example.org\r\n"},
		"nested":            {"x@example.com", []string{"chain@example.org", "nest@example.org"}, whole + "From: x@example.com\r\nTo: chain@example.org\r\n"},
		"domains":           {"x@example.com", []string{"a@domain.example", "stay@domain.example", "b+c@domain.example"}, whole + "From: x@example.com\r\nTo: a@domain.example\r\n"},
		"self":              {"x@example.com", []string{"self@example.org", "self+a@example.org"}, whole + "From: x@example.com\r\nTo: self@example.org\r\n"},
		"copies":            {"alice.example@example.org", []string{"shop@example.org", "u@new.example"}, whole + "From: alice.example@example.org\r\nTo: shop@example.org\r\n"},
		"duplicates":        {"x@example.com", []string{"bob@example.com", "Bob@Example.COM", "bob@example.com", "old@example.org", "new@example.org"}, whole + "From: x@example.com\r\nTo: bob@example.com\r\n"},
		"null sender":       {"", []string{"bob@example.com"}, whole + "From: MAILER-DAEMON\r\nTo: bob@example.com\r\n"},
		"all missing":       {"old@example.org", []string{"bob@example.com"}, "Subject: x\r\n"},
		"resent":            {"old@example.org", []string{"bob@example.com"}, whole + "From: x@example.com\r\nTo: y@example.com\r\nResent-To: old@example.org\r\n"},
		"dropped":           {"x@example.com", []string{"bob@example.com"}, "Return-Path: <a@b>\r\nBcc: old@example.org\r\n" + whole + "From: x@example.com\r\nContent-Length: 5\r\nTo: bob@example.com\r\nResent-To: a@example.com\r\nResent-Bcc: a@example.com\r\n"},
		"undisclosed":       {"x@example.com", []string{"bob@example.com"}, whole + "From: x@example.com\r\nSubject: y\r\n"},
		"null sender, none": {"", []string{"bob@example.com"}, "Subject: x\r\n"},
		"names":             {"x@example.com", []string{"bob@example.com"}, whole + "From: \"old@example.org\" (old@example.org) <old@example.org>\r\nTo: group: old@example.org, Some One <u@old.example>;\r\nCc: =?utf-8?q?J=C3=B6rg?= <old@example.org>,\r\n\told@example.org\r\nReply-To: quoted@example.org\r\nSender: plain\r\nSubject: old@example.org\r\n"},
		"routes":            {"x@example.com", []string{"bob@example.com"}, whole + "From: <@a,@b:old@example.org>\r\nTo: <@a:plain>, <>\r\n"},
		"receipts":          {"x@example.com", []string{"bob@example.com"}, whole + "From: x@example.com\r\nErrors-To: old@example.org\r\nReturn-Receipt-To: alice@example.org\r\nDisposition-Notification-To: A <alice@example.org>\r\nMail-Followup-To: alice@example.org\r\nMail-Reply-To: alice@example.org\r\n"},
		"resent replies":    {"x@example.com", []string{"bob@example.com"}, whole + "From: x@example.com\r\nResent-Reply-To: shop@example.org, alice@example.org\r\nApparently-To: shop@example.org\r\n"},
		"bb":                {"x@example.com", []string{"bare@example.org"}, whole},
	} {
		want := posted(t, s, mail.sender, mail.recipients, mail.header)
		got := cleaned(t, c, mail.sender, mail.recipients, mail.header)
		assert.Equal(t, want.comparable(), got.comparable(), name)
	}
}

// TestListsBesidePostfix has virtual(5) lists of all kinds read as cleanup(8) reads them.
func TestListsBesidePostfix(t *testing.T) {
	t.Parallel()
	values := []string{
		`"odd user"@x.example a@x.example`, `a@x.example "odd, user"@x.example`, `<a@x.example> <b@x.example>`, `A <a@x.example> b@x.example`, `a b <c@x.example>`,
		`"Doe, J" <a@x.example> b@x.example`, `N <"a b"@x.example>, <c@x.example>`, `<@r,@s:a@x.example>`, `a(c)b@x.example`, `(c) a@x.example`, `<a@(c)x.example>`, `a @ x.example, b@ x.example`,
		`a\ b@x.example`, `a\,b@x.example`, `\a@x.example`, `"a\"b"@x.example`, `"a@b"@x.example`, `"a" "b"`, `"N" "a b"@x.example`, `a."b c"@x.example`, `mailto:a@x.example`,
		`a@[192.0.2.1] b@[IPv6:2001:db8::1]`, ` ,, a@x.example,,b@x.example, `, `@dom.example`, "j\xc3\xb6rg@x.example",
	}
	var text strings.Builder
	for i, v := range values {
		fmt.Fprintf(&text, "v%d@example.org %s\n", i, v)
	}
	dir, open := tablesOf(t, map[string]string{"virtual": text.String()})
	s := servertest.Postfix(t, "recipient_delimiter = +", "virtual_alias_maps = texthash:"+dir+"/virtual")
	virtual := &rewrite.Virtual{Table: open("virtual"), Keys: rewrite.Keys{Delimiter: "+"}, Origin: func() string { return "mx.example.test" }}
	c := &rewrite.Cleanup{Expander: &rewrite.Expander{Virtual: virtual}}
	for i, v := range values {
		for _, extension := range []string{"", "+x"} {
			to := fmt.Sprintf("v%d%s@example.org", i, extension)
			want, got := posted(t, s, "a@example.org", []string{to}, "Subject: x\r\n"), cleaned(t, c, "a@example.org", []string{to}, "Subject: x\r\n")
			assert.Equal(t, want.Recipients, got.Recipients, v)
		}
	}
}

// TestRemoteHeaderBesidePostfix has the header of other people stay, or completed with
// a domain that is not ours.
func TestRemoteHeaderBesidePostfix(t *testing.T) {
	t.Parallel()
	for _, domain := range []string{"", "domain.invalid"} {
		t.Run(domain, func(t *testing.T) {
			t.Parallel()
			dir, open := tablesOf(t, map[string]string{"canonical": "old@example.org new@example.org\nplain@domain.invalid found@example.org\nplain wrong@example.org\n"})
			s := servertest.Postfix(t, "append_dot_mydomain = yes", "local_header_rewrite_clients =", "remote_header_rewrite_domain = "+domain, "undisclosed_recipients_header = To: undisclosed-recipients:;", "canonical_maps = texthash:"+dir+"/canonical")
			c := &rewrite.Cleanup{
				Trivial: trivial(), RemoteDomain: domain, Header: func(*mtakit.Envelope) bool { return false },
				Canonical: &rewrite.Canonical{Both: open("canonical"), Keys: rewrite.Keys{Local: lookup.Inline{"mx.example.test": ""}}},
				Missing:   &rewrite.Missing{Hostname: "mx.example.test"}, Undisclosed: "undisclosed-recipients:;",
			}
			for _, header := range []string{
				"Subject: nothing is added\r\n",
				"From: old@example.org\r\nTo: plain, host!user, user@host, user%example.com, <@a:u@host>\r\n",
				"From: Al <al>\r\nTo: group: x, <y>;\r\nReply-To: \"odd user\"\r\n",
			} {
				want, got := posted(t, s, "plain", []string{"user@host"}, header), cleaned(t, c, "plain", []string{"user@host"}, header)
				assert.Equal(t, want.comparable(), got.comparable(), header)
			}
		})
	}
}

// TestHopsBesidePostfix has a loop end where cleanup(8) ends it.
func TestHopsBesidePostfix(t *testing.T) {
	t.Parallel()
	s := servertest.Postfix(t)
	for n, refused := range map[int]bool{48: false, 49: true} {
		header := strings.Repeat("Received: x\r\n", n)
		_, err := answered(s, "a@example.org", []string{"b@example.org"}, header)
		if refused {
			require.EqualError(t, err, `554 "5.4.0 Error: too many hops"`)
		} else {
			require.NoError(t, err)
		}
		env := &mtakit.Envelope{Sender: "a@example.org", Recipients: []mtakit.Recipient{{Address: "b@example.org"}}}
		v, err := (&rewrite.Cleanup{}).Filter(t.Context(), env, mtakit.NewMessage([]byte(header+"\r\n")))
		require.NoError(t, err)
		assert.Equal(t, refused, v.Reply != nil, n)
	}
}

// TestHeaderSizeBesidePostfix has fields cut, and all others as they were. Of a line
// that is folded Postfix keeps the beginning when that is long; here such lines are
// whole or gone.
func TestHeaderSizeBesidePostfix(t *testing.T) {
	t.Parallel()
	s := servertest.Postfix(t, "header_size_limit = 1000", "local_header_rewrite_clients =")
	c := &rewrite.Cleanup{Header: func(*mtakit.Envelope) bool { return false }, HeaderSize: 1000}
	for _, header := range []string{
		"Subject: " + strings.Repeat("x", 980) + "\r\n",
		"Subject: " + strings.Repeat("x", 990) + "\r\n",
		"Subject: " + strings.Repeat("x", 991) + "\r\nX: y\r\n",
		"Subject: " + strings.Repeat("x", 992) + "\r\n",
		"Subject: " + strings.Repeat("x", 3000) + "\r\nX: y\r\n",
		"Subject: " + strings.Repeat("x", 500) + strings.Repeat("\r\n "+strings.Repeat("y", 97), 9) + "\r\nX: y\r\n",
		"Subject: " + strings.Repeat("x", 1001) + "\r\n z\r\n",
		"Subject: " + strings.Repeat("x", 988) + "\r\n y\r\nX: y\r\n",
		"Subject: " + strings.Repeat("x", 989) + "\r\n y\r\nX: y\r\n",
		"Subject: " + strings.Repeat("x", 990) + "\r\n y\r\nX: y\r\n",
		"Subject: " + strings.Repeat("x", 991) + "\r\n y\r\nX: y\r\n",
		"Subject: " + strings.Repeat("x", 992) + "\r\n y\r\nX: y\r\n",
	} {
		want, got := posted(t, s, "a@example.org", []string{"b@example.org"}, header), cleaned(t, c, "a@example.org", []string{"b@example.org"}, header)
		assert.Equal(t, want, got, header)
	}
}

// TestClassesBesidePostfix asks smtpd(8) who is unknown in which class of addresses.
func TestClassesBesidePostfix(t *testing.T) {
	t.Parallel()
	dir, open := tablesOf(t, map[string]string{
		"users":     "root x\nnews@host.example x\n",
		"virtual":   "known@aliased.example bob@elsewhere.example\n@all.example bob@elsewhere.example\n",
		"mailboxes": "alice@boxes.example alice/\n@catch.example all/\n",
		"relayed":   "bob@relayed.example OK\n",
		"transport": "gone.example error:5.1.2 no such place\nslow.example retry:4.4.3 later\nalice@boxes.example :\n",
	})
	s := servertest.Postfix(t, "mydestination = host.example", "local_recipient_maps = texthash:"+dir+"/users", "recipient_delimiter = +",
		"virtual_alias_domains = aliased.example, all.example", "virtual_alias_maps = texthash:"+dir+"/virtual",
		"virtual_mailbox_domains = boxes.example, catch.example", "virtual_mailbox_maps = texthash:"+dir+"/mailboxes",
		"relay_domains = relayed.example", "relay_recipient_maps = texthash:"+dir+"/relayed", "transport_maps = texthash:"+dir+"/transport")
	keys := rewrite.Keys{Delimiter: "+"}
	router := &rewrite.Router{
		Local: lookup.Inline{"host.example": "", "[127.0.0.1]": ""}, LocalRecipients: open("users"), Aliased: lookup.Inline{"aliased.example": "", "all.example": ""},
		Domains: lookup.Inline{"boxes.example": "", "catch.example": ""}, Mailboxes: open("mailboxes"), Keys: keys,
		Relayed: lookup.Inline{"relayed.example": ""}, RelayRecipients: open("relayed"), Transport: &rewrite.Transport{Table: open("transport"), Delimiter: "+"},
	}
	expander := &rewrite.Expander{Virtual: &rewrite.Virtual{Table: open("virtual"), Keys: keys}}
	for _, address := range []string{
		"root@host.example", "Root+x@HOST.example", "news@host.example", "nobody@host.example", "postmaster@host.example", "root@[127.0.0.1]", "news@[127.0.0.1]",
		"known@aliased.example", "known+x@aliased.example", "nobody@aliased.example", "any@all.example",
		"alice@boxes.example", "alice+x@boxes.example", "root@boxes.example", "any@catch.example",
		"bob@relayed.example", "carol@relayed.example", "any@elsewhere.example", "any@gone.example", "any@slow.example", "any@sub.gone.example",
	} {
		_, err := answered(s, "a@elsewhere.example", []string{address}, "Subject: x\r\n")
		want := ""
		if err != nil {
			require.ErrorContains(t, err, ": Recipient address rejected: ", address)
			want = textOf(err)
		}
		ends, err := expander.Expand(t.Context(), address)
		require.NoError(t, err)
		route, err := router.Route(t.Context(), nil, &mtakit.Recipient{Address: ends[0]})
		require.NoError(t, err)
		got := ""
		if r := route.Reply; r != nil {
			got = fmt.Sprintf("%d %d.%d.%d %s", r.Code, r.EnhancedCode[0], r.EnhancedCode[1], r.EnhancedCode[2], r.Message)
		}
		assert.Equal(t, want, got, address)
	}
}

// textOf is the reply without the address in it.
func textOf(err error) string {
	text := err.Error() // 550 "5.1.1 <user@example.org>: Recipient address rejected: User unknown"
	code, rest, _ := strings.Cut(text, ` "`)
	status, _, _ := strings.Cut(rest, " ")
	_, reason, _ := strings.Cut(rest, " rejected: ")
	return code + " " + status + " " + strings.TrimSuffix(reason, `"`)
}

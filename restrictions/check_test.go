package restrictions_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
	r "github.com/mtakit/mtakit/restrictions"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var errBroken = errors.New("disk on fire")

// table has values; "!" is a table that is broken there.
type table map[string]string

func (t table) Lookup(_ context.Context, key string) (string, bool, error) {
	v, ok := t[key]
	if v == "!" {
		return "", false, errBroken
	}
	return v, ok, nil
}

// script is a server's configuration and a client's session, in the manner of
// Postfix's smtpd_check.
type script struct {
	t      *testing.T
	tables map[string]table
	stages r.Stages
	s      mtakit.Session
}

func (c *script) list(text string) r.List {
	var list r.List
	for item := range strings.SplitSeq(text, ",") {
		w := strings.Fields(item)
		warn := w[0] == "warn"
		if warn {
			w = w[1:]
		}
		x := c.restriction(w[0], append(w[1:], "", ""))
		if warn {
			x = r.WarnIfReject{Restriction: x}
		}
		list = append(list, x)
	}
	return list
}

func (c *script) restriction(name string, arg []string) r.Restriction {
	one := c.tables[arg[0]]
	switch name {
	case "permit":
		return r.Permit{}
	case "reject":
		return r.Reject{}
	case "defer":
		return r.Defer{}
	case "defer_if_permit":
		return r.DeferIfPermit{}
	case "defer_if_reject":
		return r.DeferIfReject{}
	case "permit_mynetworks":
		return r.PermitMynetworks{Networks: one}
	case "permit_sasl_authenticated":
		return r.PermitSASLAuthenticated{}
	case "reject_unauth_destination":
		return r.RejectUnauthDestination{Domains: one}
	case "check_client_access":
		return r.CheckClientAccess{Table: one}
	case "check_helo_access":
		return r.CheckHELOAccess{Table: one}
	case "check_sender_access":
		return r.CheckSenderAccess{Table: one}
	case "check_recipient_access":
		return r.CheckRecipientAccess{Table: one}
	case "relocated":
		return r.RejectRelocatedRecipient{Relocated: one}
	case "unlisted":
		return r.RejectUnlistedRecipient{Domains: one, Recipients: c.tables[arg[1]]}
	case "unverified_sender":
		return r.RejectUnverifiedSender{Verifier: verifier(one), Code: code(arg[1])}
	case "unverified_recipient":
		return r.RejectUnverifiedRecipient{Verifier: verifier(one), Code: code(arg[1])}
	case "non_fqdn_recipient":
		return r.RejectNonFQDNRecipient{}
	case "non_fqdn_sender":
		return r.RejectNonFQDNSender{}
	case "invalid_helo":
		return r.RejectInvalidHELOHostname{}
	case "non_fqdn_helo":
		return r.RejectNonFQDNHELOHostname{}
	}
	require.Fail(c.t, "unknown restriction", name)
	return nil
}

// verifier makes a table of "OK", "BOUNCED text" and "DEFERRED text" one.
func verifier(t table) r.Verifier {
	return r.VerifierFunc(func(ctx context.Context, address string) (mtakit.Result, error) {
		value, _, err := t.Lookup(ctx, address)
		word, text, _ := strings.Cut(value, " ")
		outcome := map[string]mtakit.Outcome{"OK": mtakit.Delivered, "BOUNCED": mtakit.Bounced}[word]
		return mtakit.Result{Outcome: outcome, Diagnostic: text}, err
	})
}

func code(text string) int {
	n, _ := strconv.Atoi(text)
	return n
}

// do runs a line and returns what the server says to it.
func (c *script) do(line string) string {
	word, arg, _ := strings.Cut(line, " ")
	arg = strings.TrimSpace(arg)
	switch word {
	case "table":
		c.table(strings.Fields(arg))
	case "client":
		name, addr, _ := strings.Cut(arg, " ")
		c.s.Name, c.s.Addr = strings.TrimPrefix(name, "-"), netip.AddrPortFrom(netip.MustParseAddr(addr), 25)
	case "helo":
		c.s.HELO = arg
	case "login":
		c.s.Login = arg
	case "mail":
		c.s.Envelope = &mtakit.Envelope{Sender: strings.Trim(arg, "<>")}
	case "nodelay":
		c.stages.NoDelay = true
	default:
		return c.ask(word, arg)
	}
	return ""
}

func (c *script) table(words []string) {
	t := table{}
	for _, w := range words[1:] {
		k, v, _ := strings.Cut(w, "=")
		if strings.HasPrefix(k, "<>") {
			k = "<>"
		}
		t[k] = strings.ReplaceAll(v, "_", " ")
		if strings.HasPrefix(v, "DEFER_IF") {
			t[k] = strings.Replace(t[k], "DEFER IF ", "DEFER_IF_", 1)
		}
		for _, name := range []string{"permit_sasl_authenticated", "warn_if_reject"} {
			t[k] = strings.ReplaceAll(t[k], strings.ReplaceAll(name, "_", " "), name)
		}
	}
	c.tables[words[0]] = t
}

func (c *script) ask(word, arg string) string {
	lists := map[string]*r.Restriction{"clientlist": &c.stages.Client, "helolist": &c.stages.HELO, "sender": &c.stages.Sender,
		"relay": &c.stages.Relay, "recipient": &c.stages.Recipient, "datalist": &c.stages.Data, "eodlist": &c.stages.EndOfData}
	if at := lists[word]; at != nil {
		*at = c.list(arg)
		return ""
	}
	stage, ok := map[string]mtakit.Stage{"connect": mtakit.StageConnect, "ehlo": mtakit.StageHELO, "from": mtakit.StageMail,
		"rcpt": mtakit.StageRcpt, "data": mtakit.StageData, "eod": mtakit.StageEndOfData}[word]
	require.True(c.t, ok, "unknown command %s", word)
	c.s.Stage, c.s.Recipient = stage, nil
	if word == "rcpt" {
		c.s.Recipient = &mtakit.Recipient{Address: arg}
		if strings.EqualFold(arg, "postmaster") {
			c.s.Recipient = &mtakit.Recipient{Address: "postmaster@first.example", Original: arg}
		}
	}
	v, err := c.stages.Check(c.t.Context(), &c.s)
	require.NoError(c.t, err)
	return show(v)
}

func show(v mtakit.Verdict) string {
	var b strings.Builder
	fmt.Fprint(&b, v.Action)
	if v.Action == mtakit.Reject {
		e := v.Reply.EnhancedCode
		fmt.Fprintf(&b, " %d %d.%d.%d %s", v.Reply.Code, e[0], e[1], e[2], v.Reply.Message)
	}
	for _, f := range []struct{ name, text string }{{"reason", v.Reason}, {"hold", v.Hold}, {"redirect", v.Redirect},
		{"filter", v.Filter}, {"bcc", strings.Join(v.BCC, ",")}, {"prepend", strings.Join(v.Prepend, ",")}, {"log", strings.Join(v.Log, " | ")}} {
		if f.text != "" {
			fmt.Fprintf(&b, "\n    %s: %s", f.name, f.text)
		}
	}
	return b.String()
}

func TestScripts(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.check")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, name := range files {
		t.Run(filepath.Base(name), func(t *testing.T) {
			t.Parallel()
			in, err := os.ReadFile(name)
			require.NoError(t, err)
			got := transcript(t, string(in))
			golden := strings.TrimSuffix(name, ".check") + ".golden"
			if *update {
				require.NoError(t, os.WriteFile(golden, []byte(got), 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			require.Equal(t, string(want), got)
		})
	}
}

func transcript(t *testing.T, in string) string {
	c := &script{t: t, tables: map[string]table{}}
	var out strings.Builder
	for line := range strings.Lines(in) {
		out.WriteString(line)
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		if answer := c.do(line); answer != "" {
			fmt.Fprintf(&out, "  > %s\n", answer)
		}
	}
	return out.String()
}

func TestErrorsGoUp(t *testing.T) {
	t.Parallel()
	broken := r.RestrictionFunc(func(context.Context, *mtakit.Session) (mtakit.Verdict, error) { return mtakit.Verdict{}, errBroken })
	s := &mtakit.Session{Stage: mtakit.StageRcpt, Recipient: &mtakit.Recipient{Address: "a@b"}, Envelope: &mtakit.Envelope{}}
	for _, x := range []r.Restriction{r.List{broken}, r.WarnIfReject{Restriction: broken}, &r.Stages{Relay: broken}, &r.Stages{Relay: r.Permit{}, Unlisted: broken}} {
		_, err := x.Check(t.Context(), s)
		require.ErrorIs(t, err, errBroken)
	}
}

func TestFaultsAreNotHeldBack(t *testing.T) {
	t.Parallel()
	s := &mtakit.Session{Stage: mtakit.StageRcpt, Recipient: &mtakit.Recipient{Address: "a@b"}, Envelope: &mtakit.Envelope{Sender: "s@x"}}
	v, err := r.WarnIfReject{Restriction: r.CheckSenderAccess{Table: table{"s@x": "!"}}}.Check(t.Context(), s)
	require.NoError(t, err)
	require.Equal(t, mtakit.Reject, v.Action)
	require.Equal(t, 451, v.Reply.Code)
	require.Contains(t, v.Reason, errBroken.Error())
}

// A table may name a restriction that asks the table again.
func TestEndlessNames(t *testing.T) {
	t.Parallel()
	named := r.Named{}
	loop := r.CheckSenderAccess{Table: table{"s@x": "loop"}, Named: named}
	named["loop"] = loop
	s := &mtakit.Session{Stage: mtakit.StageRcpt, Envelope: &mtakit.Envelope{Sender: "s@x"}}
	v, err := loop.Check(t.Context(), s)
	require.NoError(t, err)
	require.Equal(t, smtp.EnhancedCode{4, 3, 5}, v.Reply.EnhancedCode)
	require.NotEmpty(t, v.Reason)
}

func TestEarlierDeferral(t *testing.T) {
	t.Parallel()
	later := &smtp.SMTPError{Code: 450, Message: "later"}
	s := &mtakit.Session{Stage: mtakit.StageRcpt, Recipient: &mtakit.Recipient{Address: "a@b"}, DeferIfPermit: later}
	v, err := (&r.Stages{NoDelay: true, Relay: r.Permit{}}).Check(t.Context(), s)
	require.NoError(t, err)
	require.Equal(t, mtakit.Reject, v.Action)
	require.Same(t, later, v.Reply)
	require.Same(t, later, s.DeferIfPermit)
}

func TestVRFYDoesNotAskForTheSender(t *testing.T) {
	t.Parallel()
	s := &mtakit.Session{Stage: mtakit.StageVRFY, Recipient: &mtakit.Recipient{Address: "a@b"}, Envelope: &mtakit.Envelope{}}
	g := &r.Stages{Sender: r.Reject{}, Relay: r.Permit{}}
	v, err := g.Check(t.Context(), s)
	require.NoError(t, err)
	require.Equal(t, mtakit.Dunno, v.Action)
	s.Stage = mtakit.StageRcpt
	v, err = g.Check(t.Context(), s)
	require.NoError(t, err)
	require.Equal(t, mtakit.Reject, v.Action)
}

// FuzzAccess: whatever a table says, a verdict is well formed.
func FuzzAccess(f *testing.F) {
	for _, v := range []string{"OK", "REJECT 5.7.1 x", "550", "421 4.7.0 bye", "ERROR:5.1.1:550 no", "ERROR:\"", "ERROR:", "ERROR:::", "PREPEND A: b\n c",
		"REDIRECT @", "FILTER :", "permit, reject", "warn_if_reject", "DEFER_IF_REJECT 9.9.9 x", "\x00", "REJECT\x00\r\n250 ok"} {
		f.Add(v)
	}
	s := &mtakit.Session{Stage: mtakit.StageRcpt, Envelope: &mtakit.Envelope{Sender: "s@x"}}
	f.Fuzz(func(t *testing.T, value string) {
		v, err := r.List{r.CheckSenderAccess{Table: r.TableFunc(func(context.Context, string) (string, bool, error) { return value, true, nil })}}.Check(t.Context(), s)
		require.NoError(t, err)
		for _, reply := range []*smtp.SMTPError{v.Reply, v.DeferIfPermit, v.DeferIfReject} {
			if reply == nil {
				continue
			}
			require.True(t, reply.Code >= 400 && reply.Code < 600)
			require.Equal(t, reply.Code/100, reply.EnhancedCode[0])
			require.False(t, strings.ContainsAny(reply.Message, "\r\n\x00"))
		}
		require.Equal(t, v.Action == mtakit.Reject, v.Reply != nil)
		for _, p := range v.Prepend {
			_, err := mtakit.ParseField(p)
			require.NoError(t, err)
		}
	})
}

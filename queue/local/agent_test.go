package local

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
)

// aliases are destinations by address.
type aliases map[string][]string

func (m aliases) Destinations(_ context.Context, address string) ([]string, bool, error) {
	list, ok := m[strings.ToLower(address)]
	if len(list) == 1 && list[0] == "!" {
		return nil, false, errors.New("table is down")
	}
	return list, ok, nil
}

func (m aliases) Forward(_, text string) ([]string, error) { return strings.Fields(text), nil }

// table has its entries by key.
type table map[string]string

func (t table) Lookup(_ context.Context, key string) (string, bool, error) {
	v, ok := t[key]
	return v, ok, nil
}

// mailboxes knows users and remembers who got mail, and in how many deliveries.
type mailboxes struct {
	users map[string]mtakit.Result
	got   []string
	times int
}

func (m *mailboxes) Deliver(_ context.Context, d *mtakit.Delivery) (results []mtakit.Result) {
	m.times++
	for i := range d.Recipients {
		r, ok := m.users[d.Recipients[i].Address]
		if !ok {
			r = failed(5, 1, 1, "unknown user")
		}
		if r.Outcome == mtakit.Delivered {
			m.got = append(m.got, d.Recipients[i].Address)
		}
		if d.Report != nil && i%2 == 0 { // which an agent need not do
			d.Report(i, r)
		}
		results = append(results, r)
	}
	return results
}

// sent keeps what goes on.
type sent struct {
	envelopes []*mtakit.Envelope
	messages  []string
	err       error
}

type draft struct {
	bytes.Buffer
	s *sent
}

func (s *sent) Begin(context.Context, int64) (mtakit.Draft, error) { return &draft{s: s}, s.err }

func (d *draft) Message(context.Context) (*mtakit.Message, error) {
	return mtakit.NewMessage(d.Bytes()), nil
}
func (d *draft) Discard() error { return nil }
func (d *draft) Commit(_ context.Context, env *mtakit.Envelope, _ *mtakit.Message) (string, error) {
	d.s.envelopes = append(d.s.envelopes, env)
	d.s.messages = append(d.s.messages, d.String())
	return "ID", nil
}

func recipients(e *mtakit.Envelope) (list []string) {
	for _, r := range e.Recipients {
		list = append(list, r.Address)
	}
	return list
}

type house struct {
	*Agent
	boxes *mailboxes
	sent  *sent
	dir   string
}

var ok = mtakit.Result{Outcome: mtakit.Delivered, Status: smtp.EnhancedCode{2, 0, 0}}

func newHouse(t *testing.T, a aliases, users ...string) *house {
	h := &house{boxes: &mailboxes{users: map[string]mtakit.Result{}}, sent: &sent{}, dir: t.TempDir()}
	for _, u := range users {
		h.boxes.users[u+"@here"] = ok
	}
	me := current()
	h.Agent = &Agent{Mailboxes: h.boxes, Queue: h.sent, Domains: table{"here": ""}, Aliases: a, Delimiter: "+",
		Commands: &Commands{}, Files: &Files{}, Default: &me, Hostname: "mx.here"}
	return h
}

func delivery(text string, to ...string) *mtakit.Delivery {
	d := &mtakit.Delivery{ID: "Q1", Envelope: &mtakit.Envelope{Sender: "bob@there"}, Message: mtakit.NewMessage([]byte(text))}
	for _, r := range to {
		d.Recipients = append(d.Recipients, mtakit.Recipient{Address: r})
	}
	d.Envelope.Recipients = d.Recipients
	return d
}

const hello = "Subject: hello\r\n\r\nFrom here on\r\nbye\r\n"

func (h *house) deliver(to string) mtakit.Result {
	return h.Deliver(context.Background(), delivery(hello, to))[0]
}

func TestExpansion(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		aliases   aliases
		users     []string
		to        string
		outcome   mtakit.Outcome
		status    smtp.EnhancedCode
		mailboxes []string
		forwarded []string
	}{
		"a user": {to: "alice@here", users: []string{"alice"}, outcome: mtakit.Delivered, mailboxes: []string{"alice@here"}},
		"nobody": {to: "alice@here", outcome: mtakit.Bounced, status: smtp.EnhancedCode{5, 1, 1}},
		"one alias": {aliases: aliases{"a@here": {"alice@here"}}, to: "a@here", users: []string{"alice"},
			outcome: mtakit.Delivered, mailboxes: []string{"alice@here"}},
		"elsewhere": {aliases: aliases{"a@here": {"x@there"}}, to: "a@here", outcome: mtakit.Expanded, forwarded: []string{"x@there"}},
		"a copy for oneself": {aliases: aliases{"a@here": {"a@here", "x@there"}}, to: "a@here", users: []string{"a"},
			outcome: mtakit.Expanded, mailboxes: []string{"a@here"}, forwarded: []string{"x@there"}},
		"a circle": {aliases: aliases{"a@here": {"b@here"}, "b@here": {"a@here"}}, to: "a@here", users: []string{"a"},
			outcome: mtakit.Delivered, mailboxes: []string{"a@here"}},
		"twice": {aliases: aliases{"a@here": {"b@here", "c@here", "c@HERE"}, "b@here": {"c@here"}}, to: "a@here", users: []string{"c"},
			outcome: mtakit.Delivered, mailboxes: []string{"c@here"}},
		"a backslash": {aliases: aliases{"a@here": {`\b@here`}, "b@here": {"x@there"}}, to: "a@here", users: []string{"b"},
			outcome: mtakit.Delivered, mailboxes: []string{"b@here"}},
		"an empty alias": {aliases: aliases{"a@here": {}}, to: "a@here", users: []string{"a"}, status: smtp.EnhancedCode{4, 3, 5}},
		"a table that is down": {aliases: aliases{"a@here": {"a@here", "b@here"}, "b@here": {"!"}}, to: "a@here", users: []string{"a"},
			status: smtp.EnhancedCode{4, 3, 5}},
		"one of two is unknown": {aliases: aliases{"a@here": {"b@here", "c@here"}}, to: "a@here", users: []string{"c"},
			outcome: mtakit.Bounced, status: smtp.EnhancedCode{5, 1, 1}, mailboxes: []string{"c@here"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, c.aliases, c.users...)
			r := h.deliver(c.to)
			assert.Equal(t, c.outcome, r.Outcome, r.Diagnostic)
			if c.status != (smtp.EnhancedCode{}) {
				assert.Equal(t, c.status, r.Status)
			}
			assert.Equal(t, c.mailboxes, h.boxes.got)
			var forwarded []string
			for _, e := range h.sent.envelopes {
				forwarded = append(forwarded, recipients(e)...)
			}
			assert.Equal(t, c.forwarded, forwarded)
		})
	}
}

// TestMailboxesTogether has who has no more than a mailbox delivered to in one go, and
// each result told once, of the right recipient.
func TestMailboxesTogether(t *testing.T) {
	t.Parallel()
	h := newHouse(t, aliases{"list@here": {"alice@here", "x@there"}, "own@here": {"own@here"}, "owner-own@here": {"alice@here"}}, "alice", "bob", "carol", "own")
	d := delivery("Delivered-To: loop@here\r\n"+hello, "bob@here", "list@here", "nobody@here", "loop@here", "carol@here", "own@here", "alice@here")
	told := map[int]mtakit.Result{}
	d.Report = func(i int, r mtakit.Result) {
		assert.NotContains(t, told, i)
		told[i] = r
	}
	results := h.Deliver(t.Context(), d)
	var outcomes []mtakit.Outcome
	for i, r := range results {
		outcomes = append(outcomes, r.Outcome)
		assert.Equal(t, r, told[i])
	}
	assert.Equal(t, []mtakit.Outcome{mtakit.Delivered, mtakit.Expanded, mtakit.Bounced, mtakit.Bounced, mtakit.Delivered, mtakit.Expanded, mtakit.Delivered}, outcomes)
	assert.Equal(t, []string{"alice@here", "bob@here", "carol@here", "alice@here"}, h.boxes.got)
	assert.Equal(t, 2, h.boxes.times, "one for the list, and one for those without an alias")
	require.Len(t, h.sent.envelopes, 2)
	assert.Equal(t, "owner-own@here", h.sent.envelopes[1].Sender)
}

// What goes on carries the mark that ends loops, and the wishes of the sender but the
// one that has been answered.
func TestForwarded(t *testing.T) {
	t.Parallel()
	h := newHouse(t, aliases{"a@here": {"x@there", "y@there"}})
	d := delivery(hello, "a@here")
	d.Envelope.Options.EnvelopeID = "E1"
	d.Envelope.Attrs = map[string]string{"tag": "blue"}
	d.Recipients[0].Original = "A@here"
	d.Recipients[0].Options.Notify = []smtp.DSNNotify{smtp.DSNNotifySuccess, smtp.DSNNotifyFailure}
	r := h.Deliver(t.Context(), d)[0]
	require.Equal(t, mtakit.Expanded, r.Outcome)
	require.Len(t, h.sent.envelopes, 1)
	e := h.sent.envelopes[0]
	assert.Equal(t, "bob@there", e.Sender)
	assert.Equal(t, "E1", e.Options.EnvelopeID)
	assert.Equal(t, "blue", e.Attrs["tag"])
	assert.Equal(t, []string{"x@there", "y@there"}, recipients(e))
	assert.Equal(t, "A@here", e.Recipients[0].Original)
	assert.Equal(t, []smtp.DSNNotify{smtp.DSNNotifyFailure}, e.Recipients[0].Options.Notify)
	assert.Regexp(t, "^Delivered-To: a@here\r\nReceived: by mx.here \\(mtakit, forwarded Q1\\);\r\n\t.*\r\nSubject: hello\r\n\r\nFrom here on\r\nbye\r\n$", h.sent.messages[0])

	again := h.Deliver(t.Context(), delivery(h.sent.messages[0], "a@here"))[0]
	assert.Equal(t, smtp.EnhancedCode{5, 4, 6}, again.Status, "it came back")
	assert.Len(t, h.sent.envelopes, 1)

	hops := h.Deliver(t.Context(), delivery(strings.Repeat("Received: x\r\n", 49)+hello, "a@here"))[0]
	assert.Equal(t, smtp.EnhancedCode{5, 4, 6}, hops.Status)
}

func TestOwner(t *testing.T) {
	t.Parallel()
	h := newHouse(t, aliases{"list@here": {"x@there", "alice@here"}, "owner-list@here": {"alice@here"}}, "alice")
	r := h.deliver("list@here")
	require.Equal(t, mtakit.Expanded, r.Outcome, r.Diagnostic)
	require.Len(t, h.sent.envelopes, 2)
	for _, e := range h.sent.envelopes {
		assert.Equal(t, "owner-list@here", e.Sender)
		assert.Empty(t, e.Options.EnvelopeID)
	}
	assert.Equal(t, []string{"x@there"}, recipients(h.sent.envelopes[0]))
	assert.Empty(t, h.boxes.got, "the owner's failures are not the sender's")

	// The second message is delivered in the owner's name, and nowhere else.
	d := delivery(h.sent.messages[1], "list@here")
	d.Envelope = h.sent.envelopes[1]
	r = h.Deliver(t.Context(), d)[0]
	assert.Equal(t, mtakit.Delivered, r.Outcome, r.Diagnostic)
	assert.Equal(t, []string{"alice@here"}, h.boxes.got)
	assert.Len(t, h.sent.envelopes, 2)

	// A notice stays one.
	d = delivery(hello, "list@here")
	d.Envelope.Sender = ""
	require.Equal(t, mtakit.Expanded, h.Deliver(t.Context(), d)[0].Outcome)
	assert.Empty(t, h.sent.envelopes[2].Sender)
}

// One destination that cannot be reached now is tried again alone.
func TestRest(t *testing.T) {
	t.Parallel()
	h := newHouse(t, aliases{"a@here": {"alice@here", "carol@here", "x@there", "|exit 75"}}, "alice")
	h.boxes.users["carol@here"] = failed(4, 2, 2, "full")
	r := h.deliver("a@here")
	require.Equal(t, mtakit.Expanded, r.Outcome, r.Diagnostic)
	require.Len(t, h.sent.envelopes, 2)
	rest := h.sent.envelopes[1]
	assert.Equal(t, []string{"a@here"}, recipients(rest))

	d := delivery(h.sent.messages[1], "a@here")
	d.Envelope = rest
	r = h.Deliver(t.Context(), d)[0]
	assert.Equal(t, mtakit.Deferred, r.Outcome, "nothing was delivered, so nothing is divided")
	assert.Len(t, h.sent.envelopes, 2)

	h.boxes.users["carol@here"] = ok
	r = h.Deliver(t.Context(), d)[0]
	require.Equal(t, mtakit.Expanded, r.Outcome, r.Diagnostic)
	require.Len(t, h.sent.envelopes, 3)
	assert.Equal(t, []string{"alice@here", "carol@here"}, h.boxes.got, "each once")

	h.Aliases = aliases{"a@here": {"alice@here"}}
	d = delivery(h.sent.messages[2], "a@here")
	d.Envelope = h.sent.envelopes[2]
	r = h.Deliver(t.Context(), d)[0]
	assert.Equal(t, mtakit.Deferred, r.Outcome, "the alias has changed: the administrator may know why")
	assert.Equal(t, []string{"alice@here", "carol@here"}, h.boxes.got)
}

func TestQueueIsFull(t *testing.T) {
	t.Parallel()
	h := newHouse(t, aliases{"a@here": {"alice@here", "x@there"}}, "alice")
	h.sent.err = &smtp.SMTPError{Code: 452, EnhancedCode: smtp.EnhancedCode{4, 3, 1}, Message: "no space"}
	r := h.deliver("a@here")
	assert.Equal(t, mtakit.Deferred, r.Outcome)
	assert.Equal(t, smtp.EnhancedCode{4, 3, 1}, r.Status)
	assert.Empty(t, h.boxes.got, "or she would get it twice")
}

func TestNotEnabled(t *testing.T) {
	t.Parallel()
	h := newHouse(t, aliases{"a@here": {"|touch " + filepath.Join(t.TempDir(), "ran")}, "b@here": {"/tmp/x"}, "c@here": {"/tmp/x/"}})
	h.Commands, h.Files = nil, nil
	for _, to := range []string{"a@here", "b@here", "c@here"} {
		r := h.deliver(to)
		assert.Equal(t, mtakit.Deferred, r.Outcome)
		assert.Equal(t, smtp.EnhancedCode{4, 3, 5}, r.Status)
	}
}

// An address of SMTP can look like a command as much as it likes.
func TestAddressesAreNoCommands(t *testing.T) {
	t.Parallel()
	ran := filepath.Join(t.TempDir(), "ran")
	h := newHouse(t, aliases{})
	for _, to := range []string{"|touch " + ran, `"|touch ` + ran + `"@here`, "/" + ran, ran + "@here", `\|touch ` + ran, ":include:/etc/passwd"} {
		d := delivery(hello, to)
		d.Envelope.Attrs = map[string]string{attrRest: (&destination{kind: toCommand, text: "touch " + ran}).digest()}
		h.Deliver(t.Context(), d)
		h.Deliver(t.Context(), delivery(hello, to))
	}
	assert.NoFileExists(t, ran)
}

func TestDotForward(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		files     map[string]string
		mode      os.FileMode
		link      bool
		to        string
		mailboxes []string
		forwarded []string
	}{
		"none":              {to: "alice@here", mailboxes: []string{"alice@here"}},
		"elsewhere":         {files: map[string]string{".forward": "x@there"}, to: "alice@here", forwarded: []string{"x@there"}},
		"and a copy":        {files: map[string]string{".forward": "x@there alice@here"}, to: "alice@here", mailboxes: []string{"alice@here"}, forwarded: []string{"x@there"}},
		"and \\a copy":      {files: map[string]string{".forward": `\alice@here`}, to: "alice@here", mailboxes: []string{"alice@here"}},
		"empty":             {files: map[string]string{".forward": "\n"}, to: "alice@here", mailboxes: []string{"alice@here"}},
		"an extension":      {files: map[string]string{".forward": "x@there", ".forward+list": "l@there"}, to: "alice+list@here", forwarded: []string{"l@there"}},
		"no such extension": {files: map[string]string{".forward": "x@there"}, to: "alice+list@here", forwarded: []string{"x@there"}},
		"others may write":  {files: map[string]string{".forward": "x@there"}, mode: 0o666, to: "alice@here", mailboxes: []string{"alice@here"}},
		"the group may":     {files: map[string]string{".forward": "x@there"}, mode: 0o664, to: "alice@here", mailboxes: []string{"alice@here"}},
		"a symbolic link":   {files: map[string]string{"real": "x@there"}, link: true, to: "alice@here", mailboxes: []string{"alice@here"}},
		"not up and away":   {files: map[string]string{".forward": "x@there"}, to: "alice+/../../etc/passwd@here", forwarded: []string{"x@there"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, aliases{}, "alice", "alice+list")
			me := current()
			h.Users = table{"alice": strings.Join([]string{"alice", "x", itoa(me.UID), itoa(me.GID), "", h.dir, "/bin/sh"}, ":")}
			h.DotForward = ".forward"
			for file, text := range c.files {
				path := filepath.Join(h.dir, file)
				require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
				if c.mode != 0 {
					require.NoError(t, os.Chmod(path, c.mode))
				}
			}
			if c.link {
				require.NoError(t, os.Symlink("real", filepath.Join(h.dir, ".forward")))
			}
			r := h.deliver(c.to)
			assert.NotEqual(t, mtakit.Deferred, r.Outcome, r.Diagnostic)
			assert.Equal(t, c.mailboxes, h.boxes.got)
			var forwarded []string
			for _, e := range h.sent.envelopes {
				forwarded = append(forwarded, recipients(e)...)
			}
			assert.Equal(t, c.forwarded, forwarded)
		})
	}
}

func TestDepth(t *testing.T) {
	t.Parallel()
	chain := aliases{}
	for i := range 200 {
		chain["a"+itoa(i)+"@here"] = []string{"a" + itoa(i+1) + "@here"}
	}
	h := newHouse(t, chain, "a200")
	assert.Equal(t, smtp.EnhancedCode{5, 4, 6}, h.deliver("a0@here").Status)
	assert.Equal(t, mtakit.Delivered, h.deliver("a150@here").Outcome)
	h.Limit = 1
	h.Aliases = aliases{"a@here": {"x@there", "y@there"}}
	assert.Equal(t, smtp.EnhancedCode{4, 3, 5}, h.deliver("a@here").Status)
	assert.Empty(t, h.sent.envelopes)
}

func TestVerify(t *testing.T) {
	t.Parallel()
	ran := filepath.Join(t.TempDir(), "ran")
	h := newHouse(t, aliases{"a@here": {"|touch " + ran}})
	me := current()
	h.Mailboxes = &Mbox{Users: table{"alice": "alice:x:" + itoa(me.UID) + ":0::/:"}}
	got := h.Verify(t.Context(), delivery(hello, "a@here", "alice@here", "bob@here"))
	assert.Equal(t, mtakit.Delivered, got[0].Outcome)
	assert.Equal(t, mtakit.Delivered, got[1].Outcome)
	assert.Equal(t, mtakit.Bounced, got[2].Outcome)
	assert.NoFileExists(t, ran)
}

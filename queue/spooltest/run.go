package spooltest

import (
	"bytes"
	"context"
	"io"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/queue"
)

// Storage is a place for one spool.
type Storage struct {
	// Open opens the spool that is in the place. It is called again after the
	// Spool that it returned was closed.
	Open func() (queue.Spool, error)
	// Forgets says that a closed spool is empty when it is opened again.
	Forgets bool
}

// Run checks a spool. empty returns a new and empty place for each test.
func Run(t *testing.T, empty func(t *testing.T) Storage) {
	tests := []struct {
		name string
		test func(t *testing.T, s queue.Spool, again func() queue.Spool)
	}{
		{"Content", testContent}, {"Envelope", testEnvelope}, {"Header", testHeader},
		{"Homes", testHomes}, {"Changes", testChanges}, {"Mistakes", testMistakes},
		{"Drafts", testDrafts}, {"Atomic", testAtomic}, {"Concurrency", testConcurrency},
		{"IDs", testIDs}, {"Closed", testClosed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			place := empty(t)
			s, err := place.Open()
			require.NoError(t, err)
			again := func() queue.Spool {
				if place.Forgets {
					return s
				}
				require.NoError(t, s.Close())
				s, err = place.Open()
				require.NoError(t, err)
				return s
			}
			t.Cleanup(func() {
				if s != nil {
					assert.NoError(t, s.Close())
				}
			})
			tt.test(t, s, again)
		})
	}
}

// message is the header and body that most tests send.
const message = "From: a@example.org\r\nSubject: test\r\n\r\nHello\r\n"

const dsn = "Subject: failure\r\n\r\n"

func envelope(recipients ...string) *mtakit.Envelope {
	env := &mtakit.Envelope{Sender: "a@example.org", Arrival: time.Unix(1_800_000_000, 123456789)}
	for _, r := range recipients {
		env.Recipients = append(env.Recipients, mtakit.Recipient{Address: r})
	}
	return env
}

func begin(t testing.TB, s queue.Spool, content string) mtakit.Draft {
	d, err := s.Begin(context.Background(), int64(len(content)))
	require.NoError(t, err)
	_, err = io.WriteString(d, content)
	require.NoError(t, err)
	return d
}

func accept(t testing.TB, s queue.Spool, content string, a queue.Accept) string {
	a.Draft = begin(t, s, content)
	ids, err := s.Commit(context.Background(), []queue.Accept{a}, nil)
	require.NoError(t, err)
	require.Len(t, ids, 1)
	require.NotEmpty(t, ids[0])
	return ids[0]
}

func change(t testing.TB, s queue.Spool, changes ...queue.Change) {
	_, err := s.Commit(context.Background(), nil, changes)
	require.NoError(t, err)
}

func open(t testing.TB, s queue.Spool, id string) *queue.Stored {
	st, err := s.Open(context.Background(), id)
	require.NoError(t, err)
	return st
}

func contentOf(t testing.TB, m *mtakit.Message) string {
	var b bytes.Buffer
	_, err := m.WriteTo(&b)
	require.NoError(t, err)
	return b.String()
}

func entries(t testing.TB, s queue.Spool) map[string]queue.Entry {
	all := map[string]queue.Entry{}
	for e, err := range s.Entries(context.Background()) {
		require.NoError(t, err)
		require.NotContains(t, all, e.ID)
		all[e.ID] = e
	}
	return all
}

func testContent(t *testing.T, s queue.Spool, again func() queue.Spool) {
	long := strings.Repeat("0123456789abcde\r\n", 70_000)
	tests := map[string]string{
		"ordinary": message, "empty": "", "no header": "\r\nbody", "no body": "A: 1\r\n", "only a line end": "\r\n",
		"no empty line": "A: 1\r\nthis is no header\r\n", "bytes": "A: 1\r\n\r\n\x00\xff\r\n.\r\n..\r\n",
		"LF": "A: 1\nB: 2\n\nbody\n", "long": message + long, "long header": "A: " + strings.ReplaceAll(long, "\n", "\n ") + "\r\n\r\nbody",
		"like a file": "mtakit message 1" + strings.Repeat("\x00", 60) + "mtakit undo 1\n\x00\x00",
	}
	ids := map[string]string{}
	for name, content := range tests {
		ids[name] = accept(t, s, content, queue.Accept{Envelope: envelope("b@example.org")})
	}
	for range 2 {
		all := entries(t, s)
		for name, content := range tests {
			// What has no empty line behind its header gets one.
			content = contentOf(t, mtakit.NewMessage([]byte(content)))
			st := open(t, s, ids[name])
			require.True(t, content == contentOf(t, st.Message), name)
			require.EqualValues(t, len(content), st.Size, name)
			require.EqualValues(t, len(content), all[ids[name]].Size, name)
			require.True(t, content == contentOf(t, st.Message), "%s, a second time", name)
		}
		s = again()
	}
}

func testEnvelope(t *testing.T, s queue.Spool, again func() queue.Spool) {
	auth, priority := "", -3
	env := envelope("b@example.org", `"odd user"@example.org`, "c@[192.0.2.1]")
	env.Options = smtp.MailOptions{Body: smtp.Body8BitMIME, Size: 77, RequireTLS: true, UTF8: true,
		Return: smtp.DSNReturnHeaders, EnvelopeID: "e id", Auth: &auth}
	env.Params = []mtakit.Param{{Name: "HOLDFOR", Value: "60"}, {Name: "XVERP"}}
	env.Recipients[1].Original = "x@example.org"
	env.Recipients[1].Options = smtp.RcptOptions{
		Notify: []smtp.DSNNotify{smtp.DSNNotifyDelayed, smtp.DSNNotifyFailure}, OriginalRecipientType: smtp.DSNAddressTypeUTF8,
		OriginalRecipient: "ü@example.org", RequireRecipientValidSince: time.Unix(1_500_000_000, 0),
		DeliverBy: &smtp.DeliverByOptions{Time: -time.Minute, Mode: smtp.DeliverByReturn, Trace: true}, MTPriority: &priority,
	}
	env.Client = mtakit.Client{ID: "s1", Addr: netip.MustParseAddrPort("[2001:db8::1]:1024"), Server: netip.MustParseAddrPort("192.0.2.1:25"),
		Name: "n.example.org", ReverseName: "r.example.org", HELO: "h.example.org", Protocol: "ESMTPSA",
		TLS: mtakit.TLS{Version: "TLSv1.3", Cipher: "c", ServerName: "s", Peer: "p"}, Login: "l", Mech: "PLAIN"}
	env.NotBefore, env.Priority, env.Filter = time.Unix(1_900_000_000, 5), 4, "smtp:[127.0.0.1]"
	env.Attrs = map[string]string{"k": "v", "": "empty", "e": ""}
	want := env.Clone()

	id := accept(t, s, message, queue.Accept{Envelope: env})
	env.Recipients[0].Address = "changed after the commit"
	for range 2 {
		st := open(t, s, id)
		require.Equal(t, want, st.Envelope)
		st.Envelope.Recipients[0].Address = "a copy"
		require.Equal(t, want, open(t, s, id).Envelope)
		s = again()
	}
	when := time.Now().Add(-time.Minute)
	id = accept(t, s, message, queue.Accept{Envelope: &mtakit.Envelope{}})
	assert.True(t, open(t, s, id).Arrival.After(when), "no arrival: the time of the commit")
}

func testHeader(t *testing.T, s queue.Spool, again func() queue.Spool) {
	field := func(name, v string) mtakit.Field {
		f, err := mtakit.NewField(name, v)
		require.NoError(t, err)
		return f
	}
	long := strings.Repeat("long line\r\n", 60_000)
	tests := []struct {
		name   string
		change func(m *mtakit.Message)
	}{
		{"unchanged", func(*mtakit.Message) {}},
		{"prepended", func(m *mtakit.Message) { m.Header.Prepend(field("Received", "here"), field("X", "1")) }},
		{"replaced", func(m *mtakit.Message) { m.Header.Replace(0, field("From", "other@example.org")) }},
		{"removed", func(m *mtakit.Message) { m.Header.Remove(0); m.Header.Remove(0) }},
		{"appended", func(m *mtakit.Message) { m.Header.Insert(m.Header.Len(), field("X", "1")) }},
		{"body", func(m *mtakit.Message) { m.Body = mtakit.Bytes("other body") }},
		{"long body", func(m *mtakit.Message) { m.Body = mtakit.Bytes(long) }},
		{"empty", func(m *mtakit.Message) { *m = mtakit.Message{Header: new(mtakit.Header), Body: mtakit.Bytes(nil)} }},
	}
	want := map[string]string{}
	for _, tt := range tests {
		for _, content := range []string{message, message + long} {
			d := begin(t, s, content)
			m, err := d.Message(t.Context())
			require.NoError(t, err)
			require.True(t, content == contentOf(t, m))
			tt.change(m)
			wanted := contentOf(t, m)
			id, err := d.Commit(t.Context(), envelope("b@example.org"), m)
			require.NoError(t, err, tt.name)
			want[id] = wanted
			h, _ := mtakit.ParseHeader([]byte(wanted))
			require.Equal(t, h.Len(), open(t, s, id).Message.Header.Len(), tt.name)
		}
	}
	for range 2 {
		for id, e := range entries(t, s) {
			require.EqualValues(t, len(want[id]), e.Size)
			require.True(t, want[id] == contentOf(t, open(t, s, id).Message))
		}
		s = again()
	}
}

func testHomes(t *testing.T, s queue.Spool, again func() queue.Spool) {
	held := envelope("b@example.org")
	held.Hold = "because"
	later := time.Now().Add(time.Hour)
	want := map[string]queue.Entry{}
	for _, a := range []queue.Accept{
		{Envelope: envelope("b@example.org"), Key: "k"}, {Envelope: envelope("b@EXAMPLE.org"), Attempts: 1, Next: later},
		{Envelope: envelope("b@example.org"), Next: later}, {Envelope: held, Attempts: 1},
	} {
		name := []string{"incoming", "active", "deferred", "hold"}[len(want)]
		id := accept(t, s, message, a)
		want[id] = queue.Entry{ID: id, Queue: name, Sender: "a@example.org", Size: int64(len(message)), Pending: 1,
			Arrival: a.Envelope.Arrival, Next: a.Next, Attempts: a.Attempts, Hold: a.Envelope.Hold,
			Key: a.Key, Domains: []string{"example.org"}}
	}
	for range 2 {
		got := entries(t, s)
		require.Len(t, got, len(want))
		for id, e := range want {
			equalEntry(t, e, got[id])
			equalEntry(t, e, open(t, s, id).Entry)
		}
		s = again()
	}
}

func equalEntry(t testing.TB, want, got queue.Entry) {
	t.Helper()
	require.True(t, want.Next.Equal(got.Next), "next: %v, got %v", want.Next, got.Next)
	require.True(t, want.Arrival.Equal(got.Arrival), "arrival: %v, got %v", want.Arrival, got.Arrival)
	want.Next, want.Arrival = got.Next, got.Arrival
	require.Equal(t, want, got)
}

func testChanges(t *testing.T, s queue.Spool, again func() queue.Spool) {
	id := accept(t, s, message, queue.Accept{Envelope: envelope("a@b", "c@d", "e@f"), Attempts: 1})
	e := open(t, s, id).Entry
	deferred := mtakit.Result{Status: smtp.EnhancedCode{4, 2, 1}, Remote: "r[192.0.2.1]:25", Site: true,
		Reply: &smtp.SMTPError{Code: 450, EnhancedCode: smtp.EnhancedCode{-1, -1, -1}, Message: "later\nplease"}, Diagnostic: "d"}
	bounced := mtakit.Result{Outcome: mtakit.Bounced, Status: smtp.EnhancedCode{5, 1, 1}, DSN: true}
	marks := []queue.Mark{{Recipient: 0}, {Recipient: 1}, {Recipient: 2}}
	next := time.Now().Add(time.Hour)
	steps := []struct {
		change queue.Change
		effect func()
	}{
		{queue.Change{Attempts: 2}, func() { e.Attempts = 2 }},
		{queue.Change{Next: next}, func() { e.Next = next }},
		{queue.Change{}, func() {}},
		{queue.Change{Results: []queue.Mark{{Recipient: 1, State: queue.Done, Result: deferred}}}, func() { marks[1].Result = deferred }},
		{queue.Change{Marks: []queue.Mark{{Recipient: 0, State: queue.Done}}}, func() { marks[0].State, e.Pending, e.Domains = queue.Done, 2, []string{"d", "f"} }},
		{queue.Change{Defer: true}, func() { e.Queue = "deferred" }},
		{queue.Change{Attempts: 3, Next: next.Add(time.Hour), Defer: true}, func() { e.Attempts, e.Next = 3, next.Add(time.Hour) }},
		{queue.Change{Marks: []queue.Mark{{Recipient: 1, State: queue.Failed, Result: bounced}}}, func() { marks[1].State, marks[1].Result = queue.Failed, bounced }},
		{queue.Change{Warned: true}, func() { e.Warned = true }},
		{queue.Change{Defer: true, Site: "smtp d"}, func() { e.Site = "smtp d" }},
		{queue.Change{Site: "without Defer"}, func() {}},
		{queue.Change{Panics: 2}, func() { e.Panics = 2 }},
		{queue.Change{Expire: true}, func() { e.Expire = true }},
		{queue.Change{Requeue: true}, func() { e.Requeue = true }},
		{queue.Change{Hold: "wait"}, func() { e.Hold, e.Queue = "wait", "hold" }},
		{queue.Change{Hold: "still"}, func() { e.Hold = "still" }},
		{queue.Change{Defer: true, Attempts: 4}, func() { e.Attempts, e.Site = 4, "" }},
		{queue.Change{Release: true}, func() { e.Hold, e.Queue = "", "incoming" }},
		{queue.Change{Release: true}, func() {}},
		{queue.Change{Marks: []queue.Mark{{Recipient: 1, State: queue.Notified, Result: bounced}}}, func() { marks[1].State, e.Pending, e.Domains = queue.Notified, 1, []string{"f"} }},
		{queue.Change{Hold: "h"}, func() { e.Hold, e.Queue = "h", "hold" }},
		{queue.Change{Release: true, Defer: true}, func() { e.Hold, e.Queue = "", "deferred" }},
	}
	for i, step := range steps {
		step.change.ID = id
		change(t, s, step.change)
		step.effect()
		for range 2 {
			st := open(t, s, id)
			equalEntry(t, e, st.Entry)
			require.Equal(t, marks, st.Marks, "step %d", i)
			require.Equal(t, e.Hold, st.Envelope.Hold)
			require.Equal(t, message, contentOf(t, st.Message))
			equalEntry(t, e, entries(t, s)[id])
			s = again()
		}
	}
	change(t, s, queue.Change{ID: id, Remove: true})
	for range 2 {
		_, err := s.Open(t.Context(), id)
		require.ErrorIs(t, err, queue.ErrNotFound)
		require.Empty(t, entries(t, s))
		s = again()
	}
}

func testMistakes(t *testing.T, s queue.Spool, again func() queue.Spool) {
	ctx := t.Context()
	for _, id := range []string{"3K2x9Gone123", "", ".", "..", "../x", "a/b", "\x00", strings.Repeat("x", 300)} {
		_, err := s.Open(ctx, id)
		require.ErrorIs(t, err, queue.ErrNotFound, "%q", id)
		for _, c := range []queue.Change{{Remove: true}, {Attempts: 2}, {Hold: "x"}, {Defer: true}, {}} {
			c.ID = id
			_, err := s.Commit(ctx, nil, []queue.Change{c})
			require.ErrorIs(t, err, queue.ErrNotFound, "%q", id)
		}
	}
	id := accept(t, s, message, queue.Accept{Envelope: envelope("a@b")})
	for _, m := range []queue.Mark{{Recipient: 1}, {Recipient: -1}, {State: 9}} {
		_, err := s.Commit(ctx, nil, []queue.Change{{ID: id, Marks: []queue.Mark{m}}})
		require.Error(t, err)
		_, err = s.Commit(ctx, nil, []queue.Change{{ID: id, Results: []queue.Mark{m}}})
		require.Error(t, err)
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	_, err := s.Commit(cancelled, []queue.Accept{{Draft: begin(t, s, message), Envelope: envelope("a@b")}}, nil)
	require.ErrorIs(t, err, context.Canceled)
	_, err = s.Commit(ctx, []queue.Accept{{Draft: begin(t, s, message)}}, nil)
	require.Error(t, err, "no envelope")
	for range 2 {
		require.Equal(t, 1, entries(t, s)[id].Pending)
		require.Len(t, entries(t, s), 1)
		s = again()
	}
}

func testDrafts(t *testing.T, s queue.Spool, again func() queue.Spool) {
	for _, content := range []string{message, message + strings.Repeat("x", 1<<20)} {
		d := begin(t, s, content)
		require.NoError(t, d.Discard())
		require.NoError(t, d.Discard())
		_, err := d.Write([]byte("x"))
		require.Error(t, err)
		_, err = d.Message(t.Context())
		require.Error(t, err)
		_, err = d.Commit(t.Context(), envelope("a@b"), nil)
		require.Error(t, err)

		d = begin(t, s, content)
		id, err := d.Commit(t.Context(), envelope("a@b"), nil)
		require.NoError(t, err)
		require.NoError(t, d.Discard())
		_, err = d.Commit(t.Context(), envelope("a@b"), nil)
		require.Error(t, err, "a second time")
		require.True(t, content == contentOf(t, open(t, s, id).Message), "discarding does nothing after Commit")
	}
	require.Len(t, entries(t, again()), 2)
}

func testAtomic(t *testing.T, s queue.Spool, again func() queue.Spool) {
	ctx := t.Context()
	first := accept(t, s, message, queue.Accept{Envelope: envelope("a@b", "c@d"), Attempts: 1})
	second := accept(t, s, message, queue.Accept{Envelope: envelope("a@b"), Attempts: 1})
	notified := []queue.Mark{{Recipient: 0, State: queue.Notified}}

	_, err := s.Commit(ctx, []queue.Accept{{Draft: begin(t, s, dsn), Envelope: envelope("a@b")}},
		[]queue.Change{{ID: first, Marks: notified}, {ID: "3K2x9Gone123", Remove: true}})
	require.ErrorIs(t, err, queue.ErrNotFound)
	require.Len(t, entries(t, s), 2, "nothing was accepted")
	require.Equal(t, queue.Pending, open(t, s, first).Marks[0].State, "and nothing recorded")

	ids, err := s.Commit(ctx,
		[]queue.Accept{{Draft: begin(t, s, dsn+"one"), Envelope: envelope("a@b")}, {Draft: begin(t, s, dsn+"two"), Envelope: envelope("a@b"), Attempts: 1}},
		[]queue.Change{{ID: first, Marks: notified, Defer: true}, {ID: second, Marks: notified, Remove: true}})
	require.NoError(t, err)
	for range 2 {
		all := entries(t, s)
		require.Len(t, all, 3)
		require.Equal(t, "deferred", all[first].Queue)
		require.Equal(t, 1, all[first].Pending)
		require.Equal(t, dsn+"one", contentOf(t, open(t, s, ids[0]).Message))
		require.Equal(t, dsn+"two", contentOf(t, open(t, s, ids[1]).Message))
		s = again()
	}
	change(t, s, queue.Change{ID: first, Remove: true}, queue.Change{ID: ids[0], Remove: true}, queue.Change{ID: ids[1], Attempts: 2})
	require.Len(t, entries(t, again()), 1)
}

// testConcurrency lets every goroutine do all that may happen to its messages,
// while others list them.
func testConcurrency(t *testing.T, s queue.Spool, again func() queue.Spool) {
	const writers, each = 8, 12
	var wg sync.WaitGroup
	left := make([][]string, writers)
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				left[w] = append(left[w], oneLife(t, s, i)...)
			}
		})
	}
	stop := make(chan struct{})
	var lister sync.WaitGroup
	lister.Go(func() {
		for {
			for e, err := range s.Entries(context.Background()) {
				assert.NoError(t, err)
				assert.NotEmpty(t, e.ID)
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	wg.Wait()
	close(stop)
	lister.Wait()
	all := entries(t, again())
	require.Len(t, all, len(slices.Concat(left...)))
	for _, id := range slices.Concat(left...) {
		require.Equal(t, 1, all[id].Pending)
	}
}

func oneLife(t *testing.T, s queue.Spool, i int) (left []string) {
	ctx := context.Background()
	d, err := s.Begin(ctx, 0)
	if !assert.NoError(t, err) {
		return nil
	}
	d.Write([]byte(message))
	ids, err := s.Commit(ctx, []queue.Accept{{Draft: d, Envelope: envelope("a@b", "c@d"), Attempts: i % 2}}, nil)
	if !assert.NoError(t, err) {
		return nil
	}
	id := ids[0]
	for _, c := range []queue.Change{
		{ID: id, Attempts: 1}, {ID: id, Marks: []queue.Mark{{State: queue.Done}}},
		{ID: id, Defer: true, Next: time.Now()}, {ID: id, Hold: "h"}, {ID: id, Release: true},
	} {
		_, err := s.Commit(ctx, nil, []queue.Change{c})
		assert.NoError(t, err)
		st, err := s.Open(ctx, id)
		if assert.NoError(t, err) {
			assert.Equal(t, message, contentOf(t, st.Message))
		}
	}
	switch i % 3 {
	case 0:
		_, err = s.Commit(ctx, nil, []queue.Change{{ID: id, Remove: true}})
		assert.NoError(t, err)
		return nil
	case 1:
		d, _ := s.Begin(ctx, 0)
		ids, err := s.Commit(ctx, []queue.Accept{{Draft: d, Envelope: envelope("x@y")}}, []queue.Change{{ID: id, Remove: true}})
		assert.NoError(t, err)
		return ids
	}
	return []string{id}
}

func testIDs(t *testing.T, s queue.Spool, again func() queue.Spool) {
	seen := map[string]bool{}
	for range 2 {
		for range 20 {
			id := accept(t, s, message, queue.Accept{Envelope: envelope("a@b")})
			require.Regexp(t, `^[0-9A-Za-z]{5,32}$`, id)
			require.False(t, seen[id], id)
			seen[id] = true
			change(t, s, queue.Change{ID: id, Remove: true})
		}
		s = again()
	}
}

func testClosed(t *testing.T, s queue.Spool, _ func() queue.Spool) {
	d := begin(t, s, message)
	e := begin(t, s, message)
	require.NoError(t, s.Close())
	require.NoError(t, s.Close())
	_, err := d.Commit(t.Context(), envelope("a@b"), nil)
	require.Error(t, err)
	require.NoError(t, e.Discard())
	_, err = s.Begin(t.Context(), 0)
	require.Error(t, err)
	_, err = s.Open(t.Context(), "3K2x9Gone123")
	require.Error(t, err)
	require.NotErrorIs(t, err, queue.ErrNotFound, "not found and closed are two things")
	for _, err := range s.Entries(t.Context()) {
		require.Error(t, err)
	}
}

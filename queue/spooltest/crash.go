package spooltest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/internal/crashfs"
	"github.com/mtakit/mtakit/queue"
)

// RunCrash checks what a spool on files promises when machine and disk fail.
// open opens the spool that is on the file system, in a folder of its choice.
//
// A script of every kind of change runs, also in several goroutines at once with
// a crash at a random operation, and once for each file operation that it
// does: with a crash before that operation, with an error of it, with a short
// write. After a crash the file system holds what was synced and, by chance,
// some of what was not. Under the race detector, which makes it many times
// slower and has little to find in one goroutine, it runs for some of the
// operations only.
func RunCrash(t *testing.T, open func(fs crashfs.FS) (queue.Spool, error)) {
	probe := newWorld(t, open, crashfs.New())
	first := probe.disk.Ops() + 1
	probe.script()
	last := probe.disk.Ops()
	t.Run("CrashAtSetUp", func(t *testing.T) { everySetUp(t, open, first) })
	t.Run("Crash", func(t *testing.T) { everyCrash(t, open, first, last+1) }) // the last is after everything
	t.Run("CrashAtStart", func(t *testing.T) { everyStart(t, open, first, last) })
	t.Run("Faults", func(t *testing.T) { someFaults(t, open, first, last) })
	t.Run("CrashOfMany", func(t *testing.T) { crashOfMany(t, open, first, last) })
	for _, fault := range []crashfs.Fault{{Err: syscall.EIO}, {Err: syscall.ENOSPC}, {Err: syscall.EIO, Short: true}} {
		t.Run(fmt.Sprintf("Fault/%v/%v", fault.Err, fault.Short), func(t *testing.T) { everyFault(t, open, first, last, fault) })
	}
}

const lives = 4 // ways in which a crash may end

// after returns the file system after the crash: with what was synced, with all
// that was written (the process was killed), or with some of it.
func after(d *crashfs.Disk, life, seed int) *crashfs.Disk {
	switch life {
	case 0:
		return d.Restart(nil)
	case 1:
		return d.Exit()
	}
	return d.Restart(rand.New(rand.NewPCG(uint64(life), uint64(seed))))
}

// everySetUp crashes while the spool is opened for the first time.
func everySetUp(t *testing.T, open func(crashfs.FS) (queue.Spool, error), first int) {
	for life := range lives {
		for n := 1; n < first; n++ {
			disk := crashfs.New()
			disk.Inject(n, crashfs.Fault{Err: crashfs.ErrCrash})
			_, err := open(disk)
			require.Error(t, err)
			w := newWorld(t, open, after(disk, life, n))
			w.name = fmt.Sprintf("crash before operation %d of the first start, life %d", n, life)
			w.works()
		}
	}
}

func everyCrash(t *testing.T, open func(crashfs.FS) (queue.Spool, error), first, last int) {
	for life := range lives {
		for n := first + life%stride; n <= last; n += stride {
			disk := crashfs.New()
			w := newWorld(t, open, disk)
			w.name = fmt.Sprintf("crash before operation %d, life %d", n, life)
			disk.Inject(n-disk.Ops(), crashfs.Fault{Err: crashfs.ErrCrash})
			w.script()
			w.restart(after(disk, life, n))
			w.check()
			w.works()
		}
	}
}

// everyStart crashes again at every operation of the start after a crash.
func everyStart(t *testing.T, open func(crashfs.FS) (queue.Spool, error), first, last int) {
	for n := first; n <= last; n += stride {
		for k := 1 + n/stride%stride; ; k += stride {
			disk := crashfs.New()
			w := newWorld(t, open, disk)
			w.name = fmt.Sprintf("crash before operation %d and %d of the start", n, k)
			disk.Inject(n-disk.Ops(), crashfs.Fault{Err: crashfs.ErrCrash})
			w.script()
			second := after(disk, n%lives, n)
			second.Inject(k, crashfs.Fault{Err: crashfs.ErrCrash})
			s, err := open(second)
			if err == nil {
				s.Close()
				break // the start takes fewer operations
			}
			require.True(t, second.Crashed(), "%s: %v", w.name, err)
			w.restart(after(second, k%lives, k))
			w.check()
		}
	}
}

func everyFault(t *testing.T, open func(crashfs.FS) (queue.Spool, error), first, last int, fault crashfs.Fault) {
	for life := range lives {
		for n := first + life%stride; n <= last; n += stride {
			disk := crashfs.New()
			w := newWorld(t, open, disk)
			w.name = fmt.Sprintf("%v at operation %d, life %d", fault.Err, n, life)
			disk.Inject(n-disk.Ops(), fault)
			w.script()
			w.check()
			w.works()
			w.restart(after(disk, life, n))
			w.check()
			w.works()
		}
	}
}

// someFaults lets several operations of a script fail. Then nothing that was
// acknowledged may be missing, though what was refused or removed may be there;
// a step that failed is there as a whole or not at all.
func someFaults(t *testing.T, open func(crashfs.FS) (queue.Spool, error), first, last int) {
	for seed := range uint64(1000 / (stride * stride)) {
		rng := rand.New(rand.NewPCG(seed, 5))
		disk := crashfs.New()
		w := newWorld(t, open, disk)
		w.name, w.lenient = fmt.Sprint("seed ", seed), true
		for range 2 + rng.IntN(2) {
			err := []error{syscall.EIO, syscall.ENOSPC}[rng.IntN(2)]
			disk.Inject(1+rng.IntN(last-first), crashfs.Fault{Err: err, Short: rng.IntN(2) == 0})
		}
		w.script()
		for n := range last { // what is left of them
			disk.Inject(n, crashfs.Fault{})
		}
		w.restart(after(disk, rng.IntN(lives), int(seed)))
		w.check()
		w.works()
	}
}

// crashOfMany crashes while several scripts run on one spool.
func crashOfMany(t *testing.T, open func(crashfs.FS) (queue.Spool, error), first, last int) {
	for seed := range uint64(400 / (stride * stride)) {
		rng := rand.New(rand.NewPCG(seed, 4))
		disk := crashfs.New()
		worlds := []*world{newWorld(t, open, disk)}
		for n := range 3 {
			w := *worlds[0]
			w.mail, w.prefix = map[string]*mail{}, fmt.Sprint(n, "/")
			worlds = append(worlds, &w)
		}
		worlds[0].prefix = "3/"
		disk.Inject(1+rng.IntN(len(worlds)*(last-first)), crashfs.Fault{Err: crashfs.ErrCrash})
		var scripts sync.WaitGroup
		for _, w := range worlds {
			w.name = fmt.Sprint("seed ", seed)
			scripts.Go(w.script)
		}
		scripts.Wait()
		disk = after(disk, rng.IntN(lives), int(seed))
		worlds[0].restart(disk)
		for _, w := range worlds {
			w.disk, w.s = disk, worlds[0].s
			w.check()
			w.works()
		}
	}
}

// world is a spool and what was acknowledged of it.
type world struct {
	t    testing.TB
	name string
	// lenient says that what was refused or removed may be there all the same.
	lenient bool
	// prefix stands before the tokens on the spool; others belong to other worlds.
	prefix string
	open   func(crashfs.FS) (queue.Spool, error)
	disk   *crashfs.Disk
	s      queue.Spool
	mail   map[string]*mail // by the token that is its sender
	step   []step
}

// mail is what must, or may, be found of a message.
type mail struct {
	id      string
	content string
	is, may bool // it must be there; it may be
	marks   [3]mayBe
	warned  mayBe
	held    mayBe
}

// mayBe is a fact of which at least is acknowledged, and at most was asked for.
type mayBe struct{ least, most byte }

// step is a commit that accepts a message and notifies a recipient of another.
type step struct {
	dsn, of   string
	recipient int
	remove    bool
}

func newWorld(t testing.TB, open func(crashfs.FS) (queue.Spool, error), disk *crashfs.Disk) *world {
	s, err := open(disk)
	require.NoError(t, err)
	return &world{t: t, open: open, disk: disk, s: s, mail: map[string]*mail{}}
}

// script does everything that a queue does. What a crash makes impossible is
// not acknowledged, and that is all that the script has to know.
func (w *world) script() {
	long := strings.Repeat("long\r\n", 200)
	w.accept("a", message, queue.Accept{Attempts: 1})
	w.accept("b", message, queue.Accept{})
	w.accept("c", message+long, queue.Accept{Next: time.Now().Add(time.Hour)})
	w.mark("b", 0, queue.Done)
	w.change("b", queue.Change{Attempts: 1, Next: time.Now(), Defer: true})
	w.mark("b", 1, queue.Failed)
	w.both("d", "b", 1, false)
	w.discard(message + long)
	w.hold("a", 1)
	w.mark("a", 2, queue.Done)
	w.hold("a", 0)
	w.warn("a")
	w.remove("c")
	w.change("b", queue.Change{Attempts: 2})
	w.both("e", "b", 2, true)
	w.two("f", "g")
	w.both("h", "a", 0, false)
	w.change("f", queue.Change{Defer: true})
	w.remove("f")
	w.hold("g", 1)
	w.remove("a")
	w.accept("i", message+long, queue.Accept{Attempts: 1})
}

// draft makes a draft, or nil when the disk did not let it.
func (w *world) draft(token, content string) (mtakit.Draft, *mail) {
	content = "X-Token: " + w.prefix + token + "\r\n" + content
	m := &mail{content: content}
	if w.disk.Crashed() { // what is asked now says nothing
		return nil, m
	}
	d, err := w.s.Begin(context.Background(), 0)
	if err != nil {
		return nil, m
	}
	io.WriteString(d, content) // an error is kept
	w.mail[token] = m
	return d, m
}

func (w *world) accept(token, content string, a queue.Accept) {
	d, m := w.draft(token, content)
	if d == nil {
		return
	}
	a.Draft, a.Envelope = d, w.envelope(token)
	ids, err := w.s.Commit(context.Background(), []queue.Accept{a}, nil)
	w.accepted(m, ids, err, 0)
}

func (w *world) envelope(token string) *mtakit.Envelope {
	env := envelope("a@b", "c@d", "e@f")
	env.Sender = w.prefix + token
	return env
}

func (w *world) accepted(m *mail, ids []string, err error, i int) {
	if err == nil {
		require.Greater(w.t, len(ids), i, w.name)
		m.id, m.is, m.may = ids[i], true, true
		return
	}
	m.may = w.disk.Crashed() || w.lenient // an error means that it is not there; a crash, that nobody knows
}

func (w *world) two(first, second string) {
	d, m := w.draft(first, message)
	e, n := w.draft(second, message)
	if d == nil || e == nil {
		return
	}
	ids, err := w.s.Commit(context.Background(), []queue.Accept{{Draft: d, Envelope: w.envelope(first)}, {Draft: e, Envelope: w.envelope(second), Attempts: 1}}, nil)
	w.accepted(m, ids, err, 0)
	w.accepted(n, ids, err, 1)
}

// change commits a change of an accepted message and reports whether that was
// acknowledged. asked is false when there is no such message to change.
func (w *world) change(token string, c queue.Change) (done, asked bool) {
	m := w.mail[token]
	if m == nil || !m.is || w.disk.Crashed() {
		return false, false
	}
	c.ID = m.id
	_, err := w.s.Commit(context.Background(), nil, []queue.Change{c})
	return err == nil, true
}

func (b *mayBe) set(v byte, done, asked bool) {
	if done {
		b.least, b.most = v, v
	} else if asked {
		b.most = max(b.most, v)
		b.least = min(b.least, v)
	}
}

func (w *world) mark(token string, i int, state queue.State) {
	done, asked := w.change(token, queue.Change{Marks: []queue.Mark{{Recipient: i, State: state}}})
	if asked {
		w.mail[token].marks[i].set(byte(state), done, asked)
	}
}

func (w *world) warn(token string) {
	if done, asked := w.change(token, queue.Change{Warned: true}); asked {
		w.mail[token].warned.set(1, done, asked)
	}
}

func (w *world) hold(token string, on byte) {
	c := queue.Change{Release: true}
	if on == 1 {
		c = queue.Change{Hold: "h"}
	}
	if done, asked := w.change(token, c); asked {
		w.mail[token].held.set(on, done, asked)
	}
}

func (w *world) remove(token string) {
	if done, asked := w.change(token, queue.Change{Remove: true}); asked {
		w.mail[token].is, w.mail[token].may = false, !done || w.lenient
	}
}

func (w *world) discard(content string) {
	if d, m := w.draft("discarded", content); d != nil {
		m.may = false
		d.Discard()
	}
}

// both is what a bounce does: the DSN is accepted and the recipient marked in
// one step.
func (w *world) both(token, of string, i int, remove bool) {
	m := w.mail[of]
	if m == nil || !m.is {
		return
	}
	d, n := w.draft(token, message)
	if d == nil {
		return
	}
	ids, err := w.s.Commit(context.Background(), []queue.Accept{{Draft: d, Envelope: w.envelope(token)}},
		[]queue.Change{{ID: m.id, Marks: []queue.Mark{{Recipient: i, State: queue.Notified}}, Remove: remove}})
	w.accepted(n, ids, err, 0)
	if err != nil && !w.disk.Crashed() && !w.lenient {
		return // and the mark must not be there
	}
	if m.marks[i].set(byte(queue.Notified), err == nil, true); remove {
		m.is, m.may = false, err != nil || w.lenient
	}
	w.step = append(w.step, step{token, of, i, remove})
}

func (w *world) restart(disk *crashfs.Disk) {
	w.disk = disk
	s, err := w.open(disk)
	require.NoError(w.t, err, w.name)
	w.s = s
}

// check compares the spool with what was acknowledged.
func (w *world) check() {
	found := map[string]*queue.Stored{}
	for e, err := range w.s.Entries(context.Background()) {
		require.NoError(w.t, err, w.name)
		token, mine := strings.CutPrefix(e.Sender, w.prefix)
		if !mine {
			continue
		}
		st, err := w.s.Open(context.Background(), e.ID)
		require.NoError(w.t, err, w.name)
		require.Nil(w.t, found[token], "%s: %s twice", w.name, e.Sender)
		found[token] = st
		m := w.mail[token]
		require.NotNil(w.t, m, "%s: unknown %s", w.name, e.Sender)
		require.True(w.t, m.is || m.may, "%s: %s is there", w.name, e.Sender)
		w.compare(m, st)
	}
	for token, m := range w.mail {
		require.True(w.t, found[token] != nil || !m.is, "%s: %s is lost", w.name, token)
		if found[token] == nil && m.id != "" {
			_, err := w.s.Open(context.Background(), m.id)
			require.ErrorIs(w.t, err, queue.ErrNotFound, w.name)
		}
	}
	for _, s := range w.step {
		w.checkStep(s, found)
	}
}

func (w *world) compare(m *mail, st *queue.Stored) {
	require.Equal(w.t, m.content, contentOf(w.t, st.Message), w.name)
	require.Len(w.t, st.Envelope.Recipients, 3, w.name)
	require.True(w.t, m.id == "" || m.id == st.ID, w.name)
	between := func(what string, b mayBe, got byte) {
		require.True(w.t, b.least <= got && got <= b.most, "%s: %s of %s is %d, not %d to %d", w.name, what, st.Sender, got, b.least, b.most)
	}
	for i, b := range m.marks {
		between(fmt.Sprint("mark ", i), b, byte(st.Marks[i].State))
	}
	flag := map[bool]byte{true: 1}
	between("warned", m.warned, flag[st.Warned])
	between("hold", m.held, flag[st.Hold != ""])
}

// checkStep proves that the step is there as a whole or not at all.
func (w *world) checkStep(s step, found map[string]*queue.Stored) {
	of := found[s.of]
	if !w.mail[s.dsn].is && !w.mail[s.dsn].may || of == nil && !s.remove {
		return // one of them went later
	}
	notified := of == nil || of.Marks[s.recipient].State == queue.Notified
	require.Equal(w.t, notified, found[s.dsn] != nil, "%s: %s without the mark on %s, or the other way round", w.name, s.dsn, s.of)
}

// works shows that the spool goes on.
func (w *world) works() {
	token := fmt.Sprint("after ", len(w.mail))
	w.accept(token, message, queue.Accept{Attempts: 1})
	require.True(w.t, w.mail[token] != nil && w.mail[token].is, "%s: the spool does not go on", w.name)
	w.mark(token, 0, queue.Done)
	require.EqualValues(w.t, queue.Done, w.mail[token].marks[0].least, w.name)
	for _, m := range w.mail {
		if m.is && m.id != "" {
			_, err := w.s.Commit(context.Background(), nil, []queue.Change{{ID: m.id, Attempts: 7}})
			require.False(w.t, err != nil && !errors.Is(err, queue.ErrNotFound), "%s: %v", w.name, err)
		}
	}
	w.check()
}

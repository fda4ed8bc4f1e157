package filespool

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mtakit/mtakit/internal/crashfs"
	"github.com/mtakit/mtakit/queue"
)

// mostTracked is how many messages the journal may hold, however small they are,
// before some of them get files: what is known of each takes some 400 bytes of
// memory. At twice as many new mail waits for that.
const mostTracked = 25_000

// mostSegments is how many files the journal may have, however short they are:
// each process begins a new one, and each is an open file.
const mostSegments = 128

// atATime is how many messages are moved to files together.
const atATime = 256

// cleaner empties the segments of the journal, oldest first and one at a time.
type cleaner struct {
	mu      sync.Mutex
	running bool
	failed  time.Time // when it last gave up; zero after it succeeded
	err     error
}

// rest is how long a cleaner that failed waits before the next try.
const rest = time.Second

// tidyUp starts the cleaner if there is something to do and it is not at work.
func (s *Spool) tidyUp() {
	if !s.dirty() {
		return
	}
	c := &s.cleaner
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running || !c.failed.IsZero() && time.Since(c.failed) < rest && !s.inline {
		return
	}
	if s.inline {
		c.err = s.clean()
		return
	}
	done, err := s.enter()
	if err != nil {
		return
	}
	c.running, c.err = true, nil
	go func() {
		defer done()
		err := s.clean()
		c.mu.Lock()
		c.running, c.err, c.failed = false, err, time.Time{}
		if err != nil {
			c.failed = time.Now()
		}
		c.mu.Unlock()
		s.index.mu.Lock()
		s.index.changed.Broadcast() // who waits for room looks whether there is a reason not to
		s.index.mu.Unlock()
	}()
}

// few is how many messages may be left of a segment for it to be emptied.
const few = 64

// dirty tells whether the oldest segment should go: little of it is live, or the
// journal is too large. The newest segment stays.
func (s *Spool) dirty() bool {
	x := &s.index
	x.mu.RLock()
	defer x.mu.RUnlock()
	if len(x.segments) < 2 {
		return false
	}
	size, tracked := s.Journal, mostTracked
	if s.quiet.now.Load() {
		size, tracked = size/8, tracked/8
	}
	return len(x.segments[0].live) < few || x.size > size || len(x.tracked) > tracked || len(x.segments) > mostSegments
}

// quiet finds out when nobody has committed anything for a while: then the
// journal is emptied further, so that there is room in it when mail comes again.
type quiet struct {
	now   atomic.Bool
	last  atomic.Int64 // the last commit, in nanoseconds since 1970
	timed atomic.Bool  // somebody will look
}

// quietAfter is how long nothing must have happened.
const quietAfter = 5 * time.Second

// busyNow notes that something was committed.
func (s *Spool) busyNow() {
	q := &s.quiet
	q.now.Store(false)
	q.last.Store(time.Now().UnixNano())
	if !s.inline && q.timed.CompareAndSwap(false, true) {
		time.AfterFunc(quietAfter, s.calm)
	}
}

// calm is called by the timer.
func (s *Spool) calm() {
	q := &s.quiet
	since := time.Since(time.Unix(0, q.last.Load()))
	if since < quietAfter && since >= 0 {
		time.AfterFunc(quietAfter-since, s.calm)
		return
	}
	q.now.Store(true)
	q.timed.Store(false)
	s.tidyUp()
}

// clean empties segments for as long as that is worth it.
func (s *Spool) clean() error {
	for s.dirty() && !s.isClosed() {
		seg := s.index.first()
		moves := s.index.of(seg, atATime)
		if len(moves) == 0 {
			if err := s.retire(seg); err != nil {
				s.Logger.Error("cannot give up a segment of the journal", "segment", segmentName(seg.seq), "error", err)
				return err
			}
			s.tidyCatalog()
			continue
		}
		if err := s.moveOut(moves); err != nil {
			s.Logger.Error("cannot move messages out of the journal", "error", err)
			return err
		}
	}
	return nil
}

func (x *index) first() *segment {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.segments[0]
}

// of returns at most n of the messages that keep a segment, as they are now.
func (x *index) of(seg *segment, n int) []*move {
	x.mu.RLock()
	defer x.mu.RUnlock()
	some := make([]*move, 0, min(n, len(seg.live)))
	for t := range seg.live {
		if len(some) == n {
			break
		}
		m := &move{tracked: *t, upTo: place{segment: seg.seq}}
		if n := len(t.changes); n > 0 {
			m.changes = t.changes[:n:n]
			m.upTo = t.changes[n-1].place
		}
		some = append(some, m)
	}
	slices.SortFunc(some, func(a, b *move) int { return strings.Compare(a.id, b.id) }) // as they came
	return some
}

// move is a message on its way to a file of its own, or to the end of it.
type move struct {
	tracked
	to    *directory
	upTo  place
	entry queue.Entry  // what a listing will tell of it
	name  string       // of the file that is written
	file  crashfs.File // open until it is synced
	fresh bool         // the file is new, in tmp/
	err   error
}

// moveOut brings everything that the journal knows of some messages into their
// files: they are written and synced, their names too, and then a record says
// that the files are what counts. Only after that the journal is no longer
// needed.
func (s *Spool) moveOut(all []*move) (err error) {
	s.moving.RLock()
	defer s.moving.RUnlock()
	defer func() {
		for _, m := range all {
			if m.file != nil {
				m.file.Close()
			}
			if m.fresh && err != nil {
				s.tidy(s.tmp.file(m.id))
			}
		}
	}()
	moves := make([]*move, 0, len(all))
	var failed error // the last of those that could not be written; the others go on
	for _, m := range all {
		ok, err := s.writeMove(m)
		if ok && err == nil {
			moves = append(moves, m)
		}
		if _, damaged := errors.AsType[*queue.CorruptError](err); damaged && !s.index.tracks(m.id) {
			continue // it is in corrupt/ now
		}
		if err != nil {
			failed = fmt.Errorf("message %s: %w", m.id, err)
		}
		if full(err) {
			return failed // what room there is, is for what must be recorded
		}
	}
	if len(moves) == 0 {
		return failed
	}
	if err := s.syncMoves(moves); err != nil {
		return err
	}
	if err := s.nameMoves(moves); err != nil {
		return err
	}
	if err := s.dropStale(moves); err != nil {
		return err
	}
	st := new(step)
	for _, m := range moves {
		st.moved(m.id, m.to, m.upTo)
	}
	if err := s.journal.commit(st); err != nil {
		return err
	}
	for _, m := range moves {
		if m.dir != nil && m.dir != m.to {
			s.drop(m.dir, m.id)
		}
	}
	s.rememberMoves(moves)
	return failed
}

// writeMove writes the file, or what is new to its end. It is false for a
// message that is gone meanwhile.
func (s *Spool) writeMove(m *move) (ok bool, err error) {
	if m.seg == nil {
		return s.writeEnd(m)
	}
	b, ok, err := m.seg.read(m.at, m.size)
	if err != nil || !ok {
		return false, err
	}
	im, err := parseImage(b, -1)
	if err != nil { // it was good when it was written, or read at the start
		return false, s.setAside(&m.tracked, b, err)
	}
	if err := im.applyAll(m.changes); err != nil {
		return false, s.setAside(&m.tracked, b, err)
	}
	m.to, m.fresh, m.name, m.entry = s.folderNamed(im.queue()), true, s.tmp.file(m.id), im.entry(m.id)
	b = appendRecord(b, im.salt, int64(len(b)), m.fold)
	return true, s.writeNew(m, b)
}

// writeNew writes a file in tmp/.
func (s *Spool) writeNew(m *move, b []byte) (err error) {
	if err := s.remove(m.name); err != nil {
		return err
	}
	if m.file, err = s.FS.Open(m.name, os.O_RDWR|os.O_CREATE|os.O_EXCL); err != nil {
		return err
	}
	return writeAll(m.file, b, 0)
}

// fold writes what is recorded of the message in the journal as one record of
// its file.
func (m *move) fold(e *encoder) {
	for _, rec := range m.changes {
		e.b = append(e.b, rec.b...)
	}
}

// writeEnd appends to the file that the message has.
func (s *Spool) writeEnd(m *move) (ok bool, err error) {
	f, dir, err := s.openFile(m.id, os.O_RDWR)
	if errors.Is(err, queue.ErrNotFound) {
		if s.index.tracks(m.id) {
			s.Logger.Error("the file of a message is missing", "id", m.id)
			return false, s.forgetMessage(m.id)
		}
		return false, nil
	}
	if err != nil {
		return false, err
	}
	m.file, m.dir, m.name = f, dir, dir.file(m.id)
	im, err := readImage(f, -1)
	if err == nil {
		err = im.applyAll(m.changes)
	}
	if errors.Is(err, errDamaged) {
		return false, s.asideFile(dir, m.id, err)
	}
	if err != nil {
		return false, err
	}
	end, size := im.end, im.size
	b := appendRecord(nil, im.salt, im.synced, m.fold)
	m.to, m.entry = s.folderNamed(im.queue()), im.entry(m.id)
	if m.lost {
		return true, s.writeCopy(m, end, b)
	}
	if size > end { // the torn end of an earlier try
		if err := f.Truncate(end); err != nil {
			return false, err
		}
	}
	if len(m.changes) == 0 {
		return true, nil
	}
	if err := writeAll(f, b, end); err != nil {
		return false, errors.Join(err, f.Truncate(end))
	}
	return true, nil
}

// writeCopy gives a message whose file lost a sync a new one, with all that was
// good in the old one.
func (s *Spool) writeCopy(m *move, end int64, record []byte) error {
	old := m.file
	defer old.Close()
	m.file, m.fresh, m.name = nil, true, s.tmp.file(m.id)
	if err := s.writeNew(m, nil); err != nil {
		return err
	}
	for off := int64(0); off < end; {
		b, err := readAt(old, off, min(end-off, 256<<10))
		if err != nil {
			return err
		}
		if len(b) == 0 {
			return fmt.Errorf("%w: cut off at %d", errDamaged, off)
		}
		if err := writeAll(m.file, b, off); err != nil {
			return err
		}
		off += int64(len(b))
	}
	return writeAll(m.file, record, end)
}

// folderNamed returns where a message of a queue lies that has a file of its own.
func (s *Spool) folderNamed(queue string) *directory {
	switch queue {
	case "hold":
		return s.hold
	case "active":
		return s.active
	}
	return s.deferred
}

// syncMoves syncs what was written, with one call for all where that can be
// relied on.
func (s *Spool) syncMoves(moves []*move) error {
	if s.whole != nil && len(moves) > 1 {
		if err := s.whole.SyncAll(); err != nil {
			for _, m := range moves {
				s.index.lose(m.id)
			}
			return fmt.Errorf("sync: %w", err)
		}
		return nil
	}
	var group sync.WaitGroup
	for chunk := range slices.Chunk(moves, (len(moves)+syncers)/syncers) {
		group.Go(func() {
			for _, m := range chunk {
				m.err = m.file.Sync()
			}
		})
	}
	group.Wait()
	var failed error
	for _, m := range moves {
		if m.err != nil {
			s.index.lose(m.id)
			failed = fmt.Errorf("sync %s: %w", m.name, m.err)
		}
	}
	return failed
}

// syncers is how many files are synced at a time.
const syncers = 16

// lose notes that the file of a message is not to be synced again.
func (x *index) lose(id string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if t := x.tracked[id]; t != nil {
		t.lost = true
	}
}

// nameMoves gives the files their names and makes these durable. What lies in
// another folder already keeps its old name until the record is written. When a
// folder cannot be synced its names are not to be trusted: the files get new ones.
func (s *Spool) nameMoves(moves []*move) error {
	epochs := map[*directory]int64{}
	for _, m := range moves {
		if m.fresh || m.dir != m.to {
			epochs[m.to] = m.to.Epoch()
		}
	}
	var failed error
	for _, m := range moves {
		if failed = s.nameMove(m); failed != nil {
			break
		}
	}
	for d, epoch := range epochs { // also when one failed: the next try relies on the others
		if err := d.sync(epoch); err != nil {
			for _, m := range moves {
				s.index.lose(m.id)
			}
			return fmt.Errorf("sync %s: %w", d.path, err)
		}
	}
	return failed
}

func (s *Spool) nameMove(m *move) error {
	final := m.to.file(m.id)
	switch {
	case m.fresh:
		if s.index.file(m.id) {
			return s.FS.Replace(m.name, final)
		}
		return s.remove(m.name)
	case m.dir != m.to:
		err := s.remove(final)
		if err == nil {
			err = s.FS.Link(m.name, final)
		}
		if !s.index.tracks(m.id) {
			return nil // it was removed meanwhile, and its name with it
		}
		return err
	}
	return nil
}

// dropStale takes away what earlier tries may have left of messages that have a
// new file now: another file with less in it, which must not come back when the
// journal no longer knows what is missing there.
func (s *Spool) dropStale(moves []*move) error {
	stale := false
	for _, m := range moves {
		if m.fresh && (m.filed || m.lost) {
			if err := s.unlinkForGood(m.id, m.to); err != nil {
				return err
			}
			stale = true
		}
	}
	if !stale {
		return nil
	}
	return s.syncTaken()
}

// drop takes a name away that nobody needs, and that must not come back.
func (s *Spool) drop(d *directory, id string) {
	if err := s.remove(d.file(id)); err != nil {
		s.Logger.Warn("cannot remove", "file", d.file(id), "error", err)
	}
	d.taken.Add(1) // not before: a sync that ends meanwhile does not count
}

// retire gives up a segment in which nothing is live. What it says was removed
// must be gone from the disk before, and it must be gone itself before the next
// one goes.
func (s *Spool) retire(seg *segment) error {
	if err := s.seeOff(s.index.leavers()); err != nil {
		return err
	}
	if err := seg.giveUp(); err != nil {
		s.Logger.Warn("closing a segment", "error", err)
	}
	j := &s.journal
	name := j.dir.file(segmentName(seg.seq))
	epoch, spare := j.dir.Epoch(), ""
	if j.spares.offer(seg.size, s.Segment) {
		spare = s.spareName(seg.seq)
		if err := s.FS.Move(name, spare); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	} else if err := s.remove(name); err != nil {
		return err
	}
	if err := j.dir.sync(epoch); err != nil {
		return fmt.Errorf("sync %s: %w", j.dir.path, err)
	}
	s.index.drop(seg)
	if spare != "" {
		j.spares.put(spare, seg.size)
	}
	return nil
}

func (x *index) leavers() []string {
	x.mu.RLock()
	defer x.mu.RUnlock()
	ids := make([]string, 0, len(x.leaving))
	for id := range x.leaving {
		ids = append(ids, id)
	}
	return ids
}

// seeOff makes sure that no file of these removed messages is there, or comes
// back after a crash.
func (s *Spool) seeOff(ids []string) error {
	for _, id := range ids {
		if err := s.unlinkForGood(id, nil); err != nil {
			return err
		}
	}
	if err := s.syncTaken(); err != nil {
		return err
	}
	s.index.left(ids)
	return nil
}

// unlinkForGood takes away the names of a message, but for the one in keep, so
// that syncTaken makes sure of it.
func (s *Spool) unlinkForGood(id string, keep *directory) error {
	if err := s.unlink(id, keep); err != nil {
		return err
	}
	for _, d := range s.folders() {
		if d == keep || d.Epoch() == 0 {
			continue
		}
		// A sync failed once, and that the name was taken away may have been lost
		// with it: only a name that is taken away now is known to the next sync.
		if err := s.putName(d, id, keep); err != nil {
			return err
		}
		if err := s.unlink(id, keep); err != nil {
			return err
		}
	}
	return nil
}

// putName makes a name that is to be taken away: of nothing, or of what bears it
// in keep, so that a crash harms nothing.
func (s *Spool) putName(d *directory, id string, keep *directory) error {
	if keep != nil {
		err := s.FS.Link(keep.file(id), d.file(id))
		if errors.Is(err, fs.ErrNotExist) { // it was removed meanwhile
			err = nil
		}
		return err
	}
	f, err := s.FS.Open(d.file(id), os.O_RDWR|os.O_CREATE)
	if err != nil {
		return err
	}
	return f.Close()
}

// syncTaken syncs the folders from which names were taken away.
func (s *Spool) syncTaken() error {
	for _, d := range s.folders() {
		if !d.dirty() {
			continue
		}
		if err := d.sync(d.Epoch()); err != nil {
			return fmt.Errorf("sync %s: %w", d.path, err)
		}
	}
	return nil
}

// unlink takes away the files of a message, wherever they lie but in keep.
func (s *Spool) unlink(id string, keep *directory) error {
	for _, d := range s.folders() {
		if d == keep {
			continue
		}
		err := s.FS.Remove(d.file(id))
		switch {
		case err == nil:
			d.taken.Add(1)
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
	}
	return nil
}

// forgetMessage records that there is no such message any more.
func (s *Spool) forgetMessage(id string) error {
	return s.journal.commit(&step{parts: []part{{kind: partGone, id: id}}, durable: true})
}

package filespool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"sync"
)

// journal takes the steps of all who commit. Who comes first writes and syncs
// for those who come while the disk is busy with the step before.
type journal struct {
	spool *Spool
	dir   *directory

	mu      sync.Mutex
	pending *batch // what is written next
	spare   *batch // a used one

	writing sync.Mutex // held by who writes; guards what follows
	current *segment   // nil: the next step makes one
	last    uint64     // number of the newest segment
	size    int64      // of the next one
	// loose are the changes in current that were written and not synced. When a
	// sync fails they are written again.
	loose []*recorded

	spares spares
}

// batch is what goes to the disk in one write.
type batch struct {
	buf     []byte
	frames  []int // where they begin in buf
	steps   []*step
	durable bool
	accepts bool // new messages are in it
	done    chan struct{}
}

// keptBatch is the largest buffer that waits for the next batch.
const keptBatch = 4 << 20

// firstSegment is how large the first segment of a spool is. Each next one is
// twice as large as the one before.
const firstSegment = 1 << 20

// reserved is how large the file is that is kept back: room for the removal of
// some thousand messages.
const reserved = 256 << 10

func newBatch() *batch { return &batch{done: make(chan struct{})} }

func (b *batch) add(st *step) {
	at := len(b.buf)
	b.frames = append(b.frames, at)
	b.buf = append(b.buf, make([]byte, frameSize)...)
	for i := range st.parts {
		p := &st.parts[i]
		b.buf = p.append(b.buf)
		p.at -= at + frameSize
	}
	b.steps = append(b.steps, st)
	b.durable = b.durable || st.durable
	b.accepts = b.accepts || st.accepts
}

// stamp fills the frames in, now that it is known where they go.
func (b *batch) stamp(seg *segment) {
	for i, at := range b.frames {
		end := len(b.buf)
		if i+1 < len(b.frames) {
			end = b.frames[i+1]
		}
		record := b.buf[at+frameSize : end]
		seg.putFrame(b.buf[at:], frame{offset: seg.end + int64(at), synced: seg.synced, length: uint32(len(record)), sum: crc(record)})
	}
}

// commit writes a step, and syncs it when it has to be durable. When it returns
// nil the index knows of it.
func (j *journal) commit(st *step) error {
	j.mu.Lock()
	b := j.pending
	b.add(st)
	leader := len(b.steps) == 1
	j.mu.Unlock()
	if !leader {
		<-b.done
		return st.err
	}
	j.writing.Lock()
	// Who is ready to commit does so now: it costs him a wait for the next sync
	// otherwise, and everybody one sync more.
	runtime.Gosched()
	j.mu.Lock()
	j.pending = j.fresh()
	j.mu.Unlock()
	j.write(b)
	j.writing.Unlock()
	close(b.done)
	j.recycle(b)
	return st.err
}

// fresh returns an empty batch. Under mu.
func (j *journal) fresh() *batch {
	b := newBatch()
	if j.spare != nil {
		b.buf, b.frames, b.steps = j.spare.buf[:0], j.spare.frames[:0], j.spare.steps[:0]
		j.spare = nil
	}
	return b
}

// recycle keeps the memory of a batch for the one after next. Who waits for it
// still reads done.
func (j *journal) recycle(b *batch) {
	if cap(b.buf) > keptBatch {
		return
	}
	clear(b.steps)
	j.mu.Lock()
	j.spare = &batch{buf: b.buf, frames: b.frames, steps: b.steps}
	j.mu.Unlock()
}

// write brings a batch to the disk. Where there is no room for new messages
// there may be for the rest: what is recorded of old ones frees room. Under
// writing.
func (j *journal) write(b *batch) {
	seg, err := j.room(int64(len(b.buf)), b.accepts)
	if err != nil && b.accepts {
		rest := newBatch()
		for _, st := range b.steps {
			if st.err = err; !st.accepts {
				st.err = nil
				rest.add(st)
			}
		}
		if len(rest.steps) > 0 {
			j.write(rest)
		}
		return
	}
	if err == nil {
		b.stamp(seg)
		if err = writeAll(seg.file, b.buf, seg.end); err == nil && b.durable {
			err = seg.file.SyncData()
		}
		if err != nil {
			err = fmt.Errorf("journal: %w", err)
			j.poison(seg)
		}
	}
	if err != nil {
		for _, st := range b.steps {
			st.err = err
		}
		return
	}
	base := seg.end + frameSize
	seg.end += int64(len(b.buf))
	if b.durable {
		seg.synced = seg.end
		j.loose = j.loose[:0]
	}
	j.apply(b, seg, base)
}

// apply lets the index know, in the order of the journal.
func (j *journal) apply(b *batch, seg *segment, base int64) {
	x := &j.spool.index
	x.mu.Lock()
	defer x.mu.Unlock()
	for i, st := range b.steps {
		for k := range st.parts {
			p := &st.parts[k]
			rec := x.apply(p, seg, base+int64(b.frames[i]+p.at))
			if rec != nil && !b.durable {
				rec.id = p.id
				j.loose = append(j.loose, rec)
			}
			if p.kind == partGone && x.leaving[p.id] {
				st.gone = append(st.gone, p.id)
			}
		}
	}
}

// room returns the segment in which n bytes fit. New messages only get it while
// there is a file in reserve. Under writing.
func (j *journal) room(n int64, accepts bool) (*segment, error) {
	if accepts && j.spares.count() == 0 {
		if err := j.reserve(); err != nil {
			return nil, fmt.Errorf("journal: reserve: %w", err)
		}
	}
	if seg := j.current; seg != nil {
		if seg.end+n <= seg.size {
			return seg, nil
		}
		if seg.synced < seg.end {
			if err := seg.file.SyncData(); err == nil {
				seg.synced, j.loose = seg.end, j.loose[:0]
			} // else the next segment says how much of it counts
		}
		j.current = nil
	}
	if err := j.begin(n, accepts); err != nil {
		return nil, fmt.Errorf("journal: new segment: %w", err)
	}
	return j.current, nil
}

// poison gives up a segment whose write or sync failed: the kernel has dropped
// what it could not write, and a later sync would not tell. The next segment
// says that nothing behind the last good sync counts, so that what was refused
// does not come back. Under writing.
func (j *journal) poison(seg *segment) {
	j.spool.Logger.Error("giving up a segment of the journal", "segment", segmentName(seg.seq), "good", seg.synced)
	j.current = nil
	if err := j.begin(0, false); err != nil {
		j.spool.Logger.Error("cannot make a segment", "error", err)
	}
}

// begin makes a new segment for at least n bytes, and writes again what was
// loose in the one before. Under writing.
func (j *journal) begin(n int64, accepts bool) error {
	for _, rec := range j.loose {
		n += int64(frameSize + 16 + len(rec.id) + len(rec.b))
	}
	seg := &segment{seq: j.last + 1, size: max(j.size, segmentHead+n), live: map[*tracked]bool{}}
	if last := j.spool.index.newest(); last != nil {
		seg.before = place{last.seq, last.synced}
	}
	spare, err := j.file(seg.size, segmentHead+n, accepts)
	if err != nil {
		return err
	}
	j.last++
	if err := j.spool.createSegment(seg, spare); err != nil {
		return err
	}
	j.size = min(2*max(j.size, firstSegment), j.spool.Segment)
	if err := j.tighten(seg); err != nil {
		return errors.Join(err, seg.giveUp(), j.spool.remove(j.dir.file(segmentName(seg.seq))))
	}
	j.spool.index.push(seg)
	j.current = seg
	return nil
}

// file returns a file of size bytes for a segment. One of them is kept back for
// what is recorded of old messages on a full disk: without it no mail could be
// got rid of any more. It may be as small as least. Under writing.
func (j *journal) file(size, least int64, accepts bool) (name string, err error) {
	if name := j.spares.take(size, 1); name != "" {
		return name, nil
	}
	name = j.dir.file("new")
	err = j.spool.allocate(name, size)
	if err == nil || accepts {
		return name, err
	}
	if name := j.spares.take(least, 0); name != "" {
		return name, nil
	}
	for err != nil && size > least {
		size = max(size/2, least)
		err = j.spool.allocate(name, size)
	}
	return name, err
}

// reserve makes the file that is kept back.
func (j *journal) reserve() error {
	size := min(reserved, j.spool.Segment)
	name := j.spool.spareName(0)
	if err := j.spool.allocate(name, size); err != nil {
		return err
	}
	j.spares.put(name, size)
	return nil
}

// tighten writes loose changes into a new segment, and syncs them: the cleaner
// relies on it that the journal knows every message that keeps an older segment.
func (j *journal) tighten(seg *segment) error {
	if len(j.loose) == 0 {
		return nil
	}
	b := newBatch()
	for _, rec := range j.loose {
		b.add(&step{parts: []part{{kind: partChange, id: rec.id, data: rec.b}}})
	}
	b.stamp(seg)
	if err := writeAll(seg.file, b.buf, seg.end); err != nil {
		return err
	}
	if err := seg.file.SyncData(); err != nil {
		return err
	}
	base := seg.end + frameSize
	seg.end += int64(len(b.buf))
	seg.synced = seg.end
	j.spool.index.relocate(j.loose, func(i int) place { return place{seg.seq, base + int64(b.frames[i]+b.steps[i].parts[0].at)} })
	j.loose = j.loose[:0]
	return nil
}

// spares are files that wait to become segments.
type spares struct {
	mu    sync.Mutex
	files []spareFile
}

type spareFile struct {
	name string
	size int64
}

// mostSpares is how many files are kept.
const mostSpares = 3

func (s *spares) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.files)
}

// take returns the name of a file of at least size bytes, or "" when no more
// than keep of any size are there.
func (s *spares) take(size int64, keep int) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.files) <= keep {
		return ""
	}
	for i, f := range s.files {
		if f.size >= size {
			s.files = append(s.files[:i], s.files[i+1:]...)
			return f.name
		}
	}
	return ""
}

// offer reports whether one more of this size is of use.
func (s *spares) offer(size, wanted int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.files) == 0 || size == wanted && len(s.files) < mostSpares
}

func (s *spares) put(name string, size int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files = append(s.files, spareFile{name, size})
}

// idOf finds the ID in the first part of a record that is damaged, as far as it
// can be read.
func idOf(record []byte) string {
	if len(record) < 3 {
		return ""
	}
	_, n := binary.Uvarint(record[1:])
	if n <= 0 || len(record) < 2+n {
		return ""
	}
	b := record[1+n:]
	if k := int(b[0]); 1+k <= len(b) && validID(string(b[1:1+k])) {
		return string(b[1 : 1+k])
	}
	return ""
}

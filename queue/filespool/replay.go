package filespool

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/mtakit/mtakit/queue"
)

// replay reads the journal that an earlier process has left.
func (s *Spool) replay() (err error) {
	segments, err := s.findSegments()
	defer func() {
		if err != nil {
			giveUp(segments)
		}
	}()
	if err != nil {
		return err
	}
	s.index.replaying = true
	defer func() { s.index.replaying = false }()
	for i, seg := range segments {
		limit := int64(-1) // nobody knows how much of the newest counts
		for _, later := range segments[i+1:] {
			if later.before.segment == seg.seq {
				limit = later.before.offset
			}
		}
		if err := s.replaySegment(seg, limit); err != nil {
			return fmt.Errorf("segment %s: %w", segmentName(seg.seq), err)
		}
		s.index.push(seg)
	}
	return nil
}

// findSegments opens the segments that count, oldest first. Each names the one
// before it. What nobody names was given up, and is only there because a crash
// came before that was durable. On failure all of them are returned, to be closed.
func (s *Spool) findSegments() (all []*segment, err error) {
	err = s.FS.List(s.journal.dir.path, func(name string) {
		seq, ok := parseSegmentName(name)
		switch {
		case ok:
			all = append(all, &segment{seq: seq, live: map[*tracked]bool{}})
			s.journal.last = max(s.journal.last, seq)
		case strings.HasPrefix(name, "spare.") || name == "new":
		default:
			s.stranger(s.journal.dir, name)
		}
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b *segment) int { return int(int64(a.seq) - int64(b.seq)) })
	for _, seg := range all {
		if err := s.openSegment(seg); err != nil {
			return all, fmt.Errorf("segment %s: %w", segmentName(seg.seq), err)
		}
	}
	chain, err := s.chain(all)
	if err != nil {
		return all, err
	}
	return chain, nil
}

// giveUp closes segments of which not all could be read.
func giveUp(segments []*segment) {
	for _, seg := range segments {
		seg.giveUp()
	}
}

func (s *Spool) openSegment(seg *segment) error {
	flag := os.O_RDWR
	if s.ReadOnly {
		flag = os.O_RDONLY
	}
	f, err := s.FS.Open(s.journal.dir.file(segmentName(seg.seq)), flag)
	if err != nil {
		return err
	}
	seg.file = f
	if seg.size, err = f.Size(); err != nil {
		return err
	}
	head, err := readAt(f, 0, segmentHead)
	if err != nil {
		return err
	}
	if err := seg.parseHead(head); err != nil {
		s.Logger.Error("damaged segment of the journal", "segment", segmentName(seg.seq), "error", err)
		seg.nonce, seg.before = [16]byte{}, place{}
		seg.damaged = err
	}
	return nil
}

// chain follows the names from the newest segment back.
func (s *Spool) chain(all []*segment) (chain []*segment, err error) {
	for i := len(all) - 1; i >= 0; i-- {
		seg := all[i]
		if len(chain) > 0 {
			next := chain[len(chain)-1]
			if next.damaged == nil && next.before.segment != seg.seq {
				if err := s.strayed(seg); err != nil {
					return nil, err
				}
				continue
			}
		}
		chain = append(chain, seg)
	}
	slices.Reverse(chain)
	return chain, nil
}

// strayed deals with a segment that does not count: one that was made and never
// used, or one that was given up. Only when it does not look like that it is
// kept, in corrupt/.
func (s *Spool) strayed(seg *segment) error {
	if s.ReadOnly {
		return seg.giveUp()
	}
	b, err := readAt(seg.file, 0, seg.size)
	if err != nil {
		return err
	}
	name := segmentName(seg.seq)
	if seg.damaged != nil || seg.next(b, segmentHead-1) >= 0 {
		kept, err := s.keepRemains("journal."+name, b, errors.New("no other segment knows this one; what was in it has been dealt with"))
		if err != nil {
			return err
		}
		s.Logger.Warn("a segment of the journal that was given up came back", "segment", name, "kept", s.corrupt.file(kept))
	}
	if err := seg.giveUp(); err != nil {
		return err
	}
	return s.remove(s.journal.dir.file(name))
}

// replaySegment takes in the records of a segment. limit is how much of it
// counts, or -1.
func (s *Spool) replaySegment(seg *segment, limit int64) error {
	b, err := readAt(seg.file, 0, seg.size)
	if err != nil {
		return err
	}
	if s.ReadOnly && seg.changed() {
		return errElsewhere
	}
	known := limit // everything before this offset was acknowledged
	if limit < 0 || limit > int64(len(b)) {
		limit = int64(len(b))
	}
	if seg.damaged != nil {
		if known > segmentHead || known < 0 && len(bytes.Trim(b, "\x00")) > 0 {
			return s.lose(seg, 0, b, seg.damaged)
		}
		return nil
	}
	off := int64(segmentHead)
	for off < limit {
		f, record, ok := seg.frameAt(b[:limit], off)
		if ok {
			if err := s.replayRecord(seg, off, record); err != nil {
				return err
			}
			off += frameSize + int64(f.length)
			continue
		}
		next := seg.next(b[:limit], off)
		end := limit
		if next >= 0 {
			end = next
			f, _, _ := seg.frameAt(b, next)
			known = max(known, f.synced)
		}
		for later := next; later >= 0 && known <= off; { // does anybody know more?
			if later = seg.next(b[:limit], later); later >= 0 {
				f, _, _ := seg.frameAt(b, later)
				known = max(known, f.synced)
			}
		}
		if known <= off {
			break // the torn end of a write that was never acknowledged
		}
		if err := s.lose(seg, off, b[off:end], errors.New("damaged record")); err != nil {
			return err
		}
		off = end
	}
	if known > off {
		if err := s.lose(seg, off, nil, fmt.Errorf("cut off: %d bytes in place of %d", off, known)); err != nil {
			return err
		}
	}
	seg.end, seg.synced = off, off
	if s.ReadOnly {
		return nil
	}
	// What is here may have been written by a process that was killed before it
	// synced. It counts from now on. Nothing will be added to it.
	if seg.size > off {
		if err := seg.file.Truncate(off); err != nil {
			return err
		}
		seg.size = off
	}
	return seg.file.Sync()
}

// replayRecord takes in one record.
func (s *Spool) replayRecord(seg *segment, off int64, record []byte) error {
	st, err := parseStep(record)
	if err != nil {
		return s.lose(seg, off, record, err)
	}
	s.index.mu.Lock()
	defer s.index.mu.Unlock()
	for i := range st.parts {
		p := &st.parts[i]
		if p.kind == partChange {
			p.data = bytes.Clone(p.data)
		}
		s.index.apply(p, seg, off+frameSize+int64(p.at))
	}
	return nil
}

// lose keeps what is damaged in corrupt/; it is told by the next listing.
func (s *Spool) lose(seg *segment, off int64, b []byte, cause error) error {
	where := fmt.Sprintf("segment %s of the journal, at %d: %v", segmentName(seg.seq), off, cause)
	corrupt := &queue.CorruptError{Reason: where}
	if len(b) > frameSize {
		corrupt.ID = idOf(b[frameSize:])
	}
	s.Logger.Error("damaged record", "where", where, "id", corrupt.ID)
	if !s.ReadOnly {
		place := fmt.Sprintf("journal.%s.%d", segmentName(seg.seq), off)
		kept, err := s.keepRemains(cmp.Or(corrupt.ID, place), b, errors.New(where))
		if errors.Is(err, fs.ErrExist) { // a message may have any number of damaged records
			kept, err = s.keepRemains(place, b, errors.New(where))
		}
		if err != nil {
			return err
		}
		corrupt.Path = s.corrupt.file(kept)
	}
	s.found.mu.Lock()
	defer s.found.mu.Unlock()
	s.found.damage = append(s.found.damage, corrupt)
	return nil
}

// takeFound returns the damage that Open has found, once.
func (s *Spool) takeFound() []*queue.CorruptError {
	s.found.mu.Lock()
	defer s.found.mu.Unlock()
	found := s.found.damage
	s.found.damage = nil
	return found
}

// reconcile brings the folders in line with the journal: files of removed
// messages, and of messages that were just about to get one, are taken away.
func (s *Spool) reconcile() error {
	if err := s.seeOff(s.index.leavers()); err != nil {
		return err
	}
	for _, id := range s.index.ids() {
		s.ids.seen(id)
		t, found, _ := s.index.get(id)
		if !found || t.seg == nil || t.seg != s.index.first() {
			continue
		}
		if err := s.unlink(id, nil); err != nil {
			return err
		}
	}
	return nil
}

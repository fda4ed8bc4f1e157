package filespool

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/queue"
)

// state is what was recorded of a message: the start in its trailer, and then
// the records in their order.
type state struct {
	attempts int
	next     time.Time
	hold     string
	deferred bool // and, under hold, not to be seen until it is released
	released bool
	warned   bool
	expire   bool
	requeue  bool
	panics   int
	site     string
	marks    []queue.Mark // one for each recipient
}

// The tags of a record.
const (
	recAttempts byte = iota + 1
	recNext
	recMark
	recResult
	recWarned
	recHold
	recRelease
	recPanics
	recDefer // with the site
	recExpire
	recRequeue
)

const (
	markRecipient byte = iota + 1
	markState
	markOutcome
	markStatus // three of them, in their order
	markRemote
	markReply
	markReplyStatus
	markReplyText
	markDiagnostic
	markSite
	markDSN
)

// change writes what a change records. Nothing is written for one that only
// says where the message lies.
func (e *encoder) change(c *queue.Change) {
	e.int(recAttempts, int64(c.Attempts))
	e.time(recNext, c.Next)
	for i := range c.Results {
		e.group(recResult, func() { e.mark(&c.Results[i]) })
	}
	for i := range c.Marks {
		e.group(recMark, func() { e.mark(&c.Marks[i]) })
	}
	e.bool(recWarned, c.Warned)
	e.bool(recRelease, c.Release)
	e.str(recHold, c.Hold)
	e.int(recPanics, int64(c.Panics))
	if c.Defer {
		e.must(recDefer, c.Site)
	}
	e.bool(recExpire, c.Expire)
	e.bool(recRequeue, c.Requeue)
}

// mustSync tells whether a change is to survive a crash of the machine.
func mustSync(c *queue.Change) bool {
	return len(c.Marks) > 0 || c.Warned || c.Hold != "" || c.Release || c.Expire || c.Requeue
}

func (e *encoder) mark(m *queue.Mark) {
	r := &m.Result
	e.int(markRecipient, int64(m.Recipient))
	e.int(markState, int64(m.State))
	e.int(markOutcome, int64(r.Outcome))
	e.status(markStatus, r.Status)
	e.str(markRemote, r.Remote)
	if r.Reply != nil {
		e.group(markReply, func() { e.int(1, int64(r.Reply.Code)) })
		e.status(markReplyStatus, r.Reply.EnhancedCode)
		e.str(markReplyText, r.Reply.Message)
	}
	e.str(markDiagnostic, r.Diagnostic)
	e.bool(markSite, r.Site)
	e.bool(markDSN, r.DSN)
}

func (e *encoder) status(tag byte, code smtp.EnhancedCode) {
	if code == (smtp.EnhancedCode{}) {
		return
	}
	var b [3 * binary.MaxVarintLen64]byte
	n := 0
	for _, c := range code {
		n += binary.PutVarint(b[n:], int64(c))
	}
	e.bytes(tag, b[:n])
}

func (v value) mark() (m queue.Mark) {
	r := &m.Result
	for tag, v := range v.fields() {
		switch tag {
		case markRecipient:
			m.Recipient = int(v.int())
		case markState:
			m.State = queue.State(v.int())
		case markOutcome:
			r.Outcome = mtakit.Outcome(v.int())
		case markStatus:
			r.Status = v.status()
		case markRemote:
			r.Remote = v.str()
		case markReply, markReplyStatus, markReplyText:
			if r.Reply == nil {
				r.Reply = new(smtp.SMTPError)
			}
			v.reply(tag, r.Reply)
		case markDiagnostic:
			r.Diagnostic = v.str()
		case markSite:
			r.Site = v.bool()
		case markDSN:
			r.DSN = v.bool()
		}
	}
	return m
}

func (v value) reply(tag byte, reply *smtp.SMTPError) {
	switch tag {
	case markReply:
		for _, v := range v.fields() {
			reply.Code = int(v.int())
		}
	case markReplyStatus:
		reply.EnhancedCode = v.status()
	case markReplyText:
		reply.Message = v.str()
	}
}

func (v value) status() (code smtp.EnhancedCode) {
	b := v.b
	for i := range code {
		c, n := binary.Varint(b)
		if n <= 0 {
			v.fail()
			return code
		}
		code[i] = int(c)
		b = b[n:]
	}
	return code
}

// apply changes s by what a record says. What was applied before may be applied
// again, together with all that follows it, when a move was cut off: so nothing
// here depends on what was there before.
func (s *state) apply(record []byte) error {
	var err error
	for tag, v := range fields(record, &err) {
		switch tag {
		case recAttempts:
			s.attempts = int(v.int())
		case recNext:
			s.next = v.time()
		case recMark, recResult:
			s.mark(v.mark(), tag == recMark, &err)
		case recWarned:
			s.warned = v.bool()
		case recHold:
			s.hold = v.str()
		case recRelease:
			s.hold, s.released, s.deferred = "", true, false
		case recPanics:
			s.panics = int(v.int())
		case recDefer:
			s.site = v.str()
			s.deferred = true
		case recExpire:
			s.expire = v.bool()
		case recRequeue:
			s.requeue = v.bool()
		}
	}
	return err
}

func (s *state) mark(m queue.Mark, done bool, err *error) {
	switch {
	case *err != nil:
	case m.Recipient < 0 || m.Recipient >= len(s.marks):
		*err = fmt.Errorf("mark of recipient %d of %d", m.Recipient, len(s.marks))
	case m.State > queue.Notified:
		*err = fmt.Errorf("mark with state %d", m.State)
	default:
		if !done {
			m.State = s.marks[m.Recipient].State
		}
		s.marks[m.Recipient] = m
	}
}

// queue names the queue that the message is in.
func (s *state) queue() string {
	switch {
	case s.hold != "":
		return "hold"
	case s.deferred:
		return "deferred"
	case s.attempts > 0 && !s.released:
		return "active"
	}
	return "incoming"
}

// applyAll applies what the journal has recorded.
func (s *state) applyAll(changes []*recorded) error {
	for _, rec := range changes {
		if err := s.apply(rec.b); err != nil {
			return fmt.Errorf("%w: record in the journal: %w", errDamaged, err)
		}
	}
	return nil
}

// pending counts the recipients that are not finished.
func (s *state) pending() int {
	n := 0
	for _, m := range s.marks {
		if m.State == queue.Pending || m.State == queue.Failed {
			n++
		}
	}
	return n
}

func newMarks(recipients int) []queue.Mark {
	marks := make([]queue.Mark, recipients)
	for i := range marks {
		marks[i].Recipient = i
	}
	return marks
}

// A record stands behind a frame: a mark, the length of the record, the offset
// up to which the file was known as synced when it was written, and the
// checksum of these and the record. Mark and checksum start from the file's
// salt, so that no text in a record can look like one.
const recordFrame = 4 + 4 + 8 + 4

// markOf returns the mark of a file's records.
func markOf(salt uint32) uint32 { return salt ^ 0x7ec07d5a }

func appendRecord(b []byte, salt uint32, synced int64, fill func(*encoder)) []byte {
	start := len(b)
	e := encoder{append(b, make([]byte, recordFrame)...)}
	fill(&e)
	b = e.b
	frame, record := b[start:start+recordFrame], b[start+recordFrame:]
	binary.BigEndian.PutUint32(frame, markOf(salt))
	binary.BigEndian.PutUint32(frame[4:], uint32(len(record)))
	binary.BigEndian.PutUint64(frame[8:], uint64(synced))
	binary.BigEndian.PutUint32(frame[16:], recordSum(salt, frame, record))
	return b
}

func recordSum(salt uint32, frame, record []byte) uint32 {
	return crc32.Update(crc32.Update(salt, castagnoli, frame[:16]), castagnoli, record)
}

// nextRecord returns the record that b starts with and its length with the
// frame, or 0 when b starts with none.
func nextRecord(b []byte, salt uint32) (record []byte, synced int64, n int) {
	if len(b) < recordFrame || binary.BigEndian.Uint32(b) != markOf(salt) {
		return nil, 0, 0
	}
	size := binary.BigEndian.Uint32(b[4:])
	if uint64(size) > uint64(len(b)-recordFrame) {
		return nil, 0, 0
	}
	record = b[recordFrame : recordFrame+int(size)]
	if recordSum(salt, b, record) != binary.BigEndian.Uint32(b[16:]) {
		return nil, 0, 0
	}
	return record, int64(binary.BigEndian.Uint64(b[8:])), recordFrame + int(size)
}

// replay applies the records in b, which stand at offset base of the file, and
// returns where the last good one ends. What follows it is the torn end of a
// write that was never acknowledged, unless a later record knows it as synced.
func (s *state) replay(b []byte, salt uint32, base int64) (end, synced int64, err error) {
	at := 0
	for at < len(b) {
		record, upTo, n := nextRecord(b[at:], salt)
		if n == 0 {
			break
		}
		if err := s.apply(record); err != nil {
			return 0, 0, fmt.Errorf("record at %d: %w", base+int64(at), err)
		}
		at += n
		synced = max(synced, upTo)
	}
	if at < len(b) && knownBehind(b[at:], salt) > base+int64(at) {
		return 0, 0, fmt.Errorf("records from %d on are damaged", base+int64(at))
	}
	return base + int64(at), synced, nil
}

// knownBehind returns the highest offset that any whole record in b says was
// synced.
func knownBehind(b []byte, salt uint32) (highest int64) {
	mark := binary.BigEndian.AppendUint32(nil, markOf(salt))
	for {
		i := bytes.Index(b, mark)
		if i < 0 {
			return highest
		}
		if _, synced, n := nextRecord(b[i:], salt); n > 0 {
			highest = max(highest, synced)
		}
		b = b[i+1:]
	}
}

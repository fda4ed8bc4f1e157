package filespool

import (
	"encoding/binary"
	"fmt"

	"github.com/mtakit/mtakit/queue"
)

// step is one Commit on its way through the journal: one record, which is there
// as a whole or not at all.
type step struct {
	parts   []part
	durable bool // it has to survive a crash of the machine
	accepts bool // it has new messages
	err     error
	// gone are the messages with a file that the step has removed.
	gone []string
}

// The tags of a record. Each value begins with the length of an ID in one byte
// and the ID.
const (
	partMessage byte = iota + 1 // and the image of the message, as in a file
	partFile                    // it has a file in incoming/
	partChange                  // and the fields of a change
	partMoved                   // and the place up to which its file tells everything
	partGone                    // it is removed
)

// part is what a step does with one message.
type part struct {
	kind       byte
	id         string
	data       []byte // image, change or place
	recipients int    // -1 when nobody has counted them
	at         int    // of data in the record
	dir        *directory
}

func (p *part) append(b []byte) []byte {
	b = append(b, p.kind)
	b = binary.AppendUvarint(b, uint64(1+len(p.id)+len(p.data)))
	b = append(b, byte(len(p.id)))
	b = append(b, p.id...)
	p.at = len(b)
	return append(b, p.data...)
}

func (st *step) message(id string, image []byte, recipients int) {
	st.parts = append(st.parts, part{kind: partMessage, id: id, data: image, recipients: recipients})
	st.durable, st.accepts = true, true
}

func (st *step) file(id string, recipients int) {
	st.parts = append(st.parts, part{kind: partFile, id: id, recipients: recipients})
	st.durable, st.accepts = true, true
}

// change records what c says; one that says nothing is none.
func (st *step) change(c *queue.Change, recipients int) {
	if c.Remove {
		st.parts = append(st.parts, part{kind: partGone, id: c.ID})
		st.durable = true
		return
	}
	var e encoder
	e.change(c)
	if len(e.b) > 0 {
		st.parts = append(st.parts, part{kind: partChange, id: c.ID, data: e.b, recipients: recipients})
		st.durable = st.durable || mustSync(c)
	}
}

// moved says that the file of a message tells everything up to a place.
func (st *step) moved(id string, dir *directory, upTo place) {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], upTo.segment)
	binary.BigEndian.PutUint64(b[8:], uint64(upTo.offset))
	st.parts = append(st.parts, part{kind: partMoved, id: id, data: b[:], dir: dir})
	st.durable = true
}

func (p *part) place() (upTo place, err error) {
	if len(p.data) != 16 {
		return upTo, fmt.Errorf("a place of %d bytes", len(p.data))
	}
	return place{binary.BigEndian.Uint64(p.data), int64(binary.BigEndian.Uint64(p.data[8:]))}, nil
}

// parseStep reads a record.
func parseStep(record []byte) (*step, error) {
	st := new(step)
	for b := record; len(b) > 0; {
		kind := b[0]
		size, n := binary.Uvarint(b[1:])
		if n <= 0 || size > uint64(len(b)-1-n) || size == 0 {
			return nil, errEncoding
		}
		v := b[1+n : 1+n+int(size)]
		b = b[1+n+int(size):]
		k := int(v[0])
		if 1+k > len(v) {
			return nil, errEncoding
		}
		p := part{kind: kind, id: string(v[1 : 1+k]), data: v[1+k:], recipients: -1}
		p.at = len(record) - len(b) - len(p.data)
		if !validID(p.id) {
			return nil, fmt.Errorf("record of %q", p.id)
		}
		if kind == partMoved {
			if _, err := p.place(); err != nil {
				return nil, err
			}
		}
		st.parts = append(st.parts, p)
	}
	return st, nil
}

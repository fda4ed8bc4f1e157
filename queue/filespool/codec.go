package filespool

import (
	"encoding/binary"
	"errors"
	"iter"
	"time"
)

// encoder writes fields: a tag, the length of the value, the value. A reader
// skips tags it does not know, so that fields can be added without a new
// version. Values that are zero are not written.
type encoder struct{ b []byte }

func (e *encoder) bytes(tag byte, v []byte) {
	e.b = append(e.b, tag)
	e.b = binary.AppendUvarint(e.b, uint64(len(v)))
	e.b = append(e.b, v...)
}

func (e *encoder) str(tag byte, v string) {
	if v == "" {
		return
	}
	e.must(tag, v)
}

// must writes a string even when it is empty.
func (e *encoder) must(tag byte, v string) {
	e.b = append(e.b, tag)
	e.b = binary.AppendUvarint(e.b, uint64(len(v)))
	e.b = append(e.b, v...)
}

func (e *encoder) int(tag byte, v int64) {
	if v == 0 {
		return
	}
	var b [binary.MaxVarintLen64]byte
	e.bytes(tag, b[:binary.PutVarint(b[:], v)])
}

func (e *encoder) bool(tag byte, v bool) {
	if v {
		e.int(tag, 1)
	}
}

// time writes seconds and nanoseconds, since one number of nanoseconds ends in
// the year 2262.
func (e *encoder) time(tag byte, t time.Time) {
	if t.IsZero() {
		return
	}
	var b [2 * binary.MaxVarintLen64]byte
	n := binary.PutVarint(b[:], t.Unix())
	n += binary.PutUvarint(b[n:], uint64(t.Nanosecond()))
	e.bytes(tag, b[:n])
}

// group writes the fields that fill writes as the value of one field.
func (e *encoder) group(tag byte, fill func()) {
	e.b = append(e.b, tag)
	start := len(e.b)
	fill()
	n := len(e.b) - start
	var l [binary.MaxVarintLen64]byte
	k := binary.PutUvarint(l[:], uint64(n))
	e.b = append(e.b, l[:k]...)
	copy(e.b[start+k:], e.b[start:start+n])
	copy(e.b[start:], l[:k])
}

var errEncoding = errors.New("malformed field")

// value is what a field holds, with the place where it says that it cannot be
// read as what it is asked for.
type value struct {
	b   []byte
	err *error
}

// fields yields the fields of b. *err becomes errEncoding when b is no row of
// fields; the caller looks at it once, at the end.
func fields(b []byte, err *error) iter.Seq2[byte, value] {
	return func(yield func(byte, value) bool) {
		for len(b) > 0 && *err == nil {
			tag := b[0]
			size, n := binary.Uvarint(b[1:])
			if n <= 0 || size > uint64(len(b)-1-n) {
				*err = errEncoding
				return
			}
			v := b[1+n : 1+n+int(size)]
			b = b[1+n+int(size):]
			if !yield(tag, value{v, err}) {
				return
			}
		}
	}
}

func (v value) fail() { *v.err = errEncoding }

func (v value) str() string { return string(v.b) }

func (v value) int() int64 {
	i, n := binary.Varint(v.b)
	if n != len(v.b) || n <= 0 {
		v.fail()
		return 0
	}
	return i
}

func (v value) bool() bool { return v.int() != 0 }

func (v value) time() time.Time {
	seconds, n := binary.Varint(v.b)
	if n <= 0 {
		v.fail()
		return time.Time{}
	}
	nanos, m := binary.Uvarint(v.b[n:])
	if m <= 0 || n+m != len(v.b) || nanos >= 1e9 {
		v.fail()
		return time.Time{}
	}
	return time.Unix(seconds, int64(nanos))
}

func (v value) fields() iter.Seq2[byte, value] { return fields(v.b, v.err) }

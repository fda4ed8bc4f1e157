package relay

import (
	"bytes"
	"io"
)

// dataWriter writes a message as DATA wants it: lines that start with a dot get
// another one (RFC 5321, section 4.5.2), and every line ends in CRLF. A bare LF
// becomes CRLF and a bare CR a space, as Postfix's cleanup does it, so that no
// server can see an end of data where there is none.
type dataWriter struct {
	w    io.Writer
	text bool // in the middle of a line
	cr   bool // the last byte was a CR, which is not written yet
}

var (
	crlf  = []byte("\r\n")
	dot   = []byte(".")
	space = []byte(" ")
)

// Write keeps nothing of p. What is clean is written in pieces as long as
// possible.
func (d *dataWriter) Write(p []byte) (int, error) {
	n := len(p)
	if d.cr && n > 0 {
		if err := d.resume(p[0] == '\n'); err != nil {
			return 0, err
		}
		if p[0] == '\n' {
			p = p[1:]
		}
	}
	start, i := 0, 0 // p[start:i] is clean and not yet written
	for i < len(p) {
		if !d.text && p[i] == '.' {
			if err := d.write(p[start:i], dot); err != nil {
				return 0, err
			}
			start = i
		}
		line, ended := p[i:], false
		if end := bytes.IndexByte(line, '\n'); end >= 0 {
			line, ended = line[:end], true
		}
		cr := bytes.IndexByte(line, '\r')
		d.text = !ended
		if ended && cr >= 0 && cr == len(line)-1 || !ended && cr < 0 {
			i += len(line)
			if ended {
				i++
			}
			continue
		}
		if err := d.write(p[start:i]); err != nil {
			return 0, err
		}
		if err := d.repair(line, ended); err != nil {
			return 0, err
		}
		i += len(line)
		if ended {
			i++
		}
		start = i
	}
	return n, d.write(p[start:i])
}

// resume writes the CR that was kept back, now that it is known what follows.
func (d *dataWriter) resume(lf bool) error {
	d.cr = false
	d.text = !lf
	if lf {
		return d.write(crlf)
	}
	return d.write(space)
}

// repair writes a line with stray CRs, or one that ended in a bare LF.
func (d *dataWriter) repair(line []byte, ended bool) error {
	if len(line) > 0 && line[len(line)-1] == '\r' {
		line = line[:len(line)-1]
		d.cr = !ended
	}
	for {
		cr := bytes.IndexByte(line, '\r')
		if cr < 0 {
			break
		}
		if err := d.write(line[:cr], space); err != nil {
			return err
		}
		line = line[cr+1:]
	}
	if ended {
		return d.write(line, crlf)
	}
	return d.write(line)
}

func (d *dataWriter) write(pieces ...[]byte) error {
	for _, p := range pieces {
		if len(p) == 0 {
			continue
		}
		if _, err := d.w.Write(p); err != nil {
			return err
		}
	}
	return nil
}

// Close ends the last line, if it has no end, and writes the final dot.
func (d *dataWriter) Close() error {
	if d.cr {
		if err := d.resume(false); err != nil {
			return err
		}
	}
	if d.text {
		if err := d.write(crlf); err != nil {
			return err
		}
	}
	d.text = false
	return d.write([]byte(".\r\n"))
}

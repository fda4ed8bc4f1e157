package maildir

import (
	"bytes"
	"io"
)

// unixLines writes to w with each CRLF as LF; any other CR or LF stays. Flush
// writes a CR that was the last byte.
type unixLines struct {
	w  io.Writer
	cr bool // the last byte was a CR, which is not written yet
}

func (u *unixLines) Write(p []byte) (int, error) {
	n := len(p)
	if u.cr && n > 0 {
		u.cr = false
		if p[0] != '\n' {
			if _, err := u.w.Write([]byte{'\r'}); err != nil {
				return 0, err
			}
		}
	}
	for len(p) > 0 {
		l := bytes.IndexByte(p, '\r')
		switch {
		case l < 0:
			_, err := u.w.Write(p)
			return n, err
		case l == len(p)-1:
			u.cr = true
			_, err := u.w.Write(p[:l])
			return n, err
		case p[l+1] == '\n':
			if _, err := u.w.Write(p[:l]); err != nil {
				return 0, err
			}
		default:
			if _, err := u.w.Write(p[:l+1]); err != nil {
				return 0, err
			}
		}
		p = p[l+1:]
	}
	return n, nil
}

func (u *unixLines) Flush() error {
	if !u.cr {
		return nil
	}
	u.cr = false
	_, err := u.w.Write([]byte{'\r'})
	return err
}

package queue

import (
	"cmp"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/mtakit/mtakit"
)

// trace returns the Received field of a submission (RFC 5321, section 4.4):
//
//	Received: by mx.example.org (mtakit, from userid 1000)
//		id 4KJQ2X; Sun, 22 Nov 2026 10:00:00 +0000 (UTC)
func (d *Maildrop) trace(at time.Time, from origin) (mtakit.Field, error) {
	host := d.Hostname
	if host == "" {
		host, _ = os.Hostname()
	}
	text := "Received: by " + word(cmp.Or(host, "localhost")) + " (mtakit"
	if from.uid >= 0 {
		text += ", from userid " + strconv.Itoa(from.uid)
	}
	text += ")"
	if from.name != "" {
		text += "\n\tid " + word(from.name)
	}
	f, err := mtakit.ParseField(text + "; " + at.Format("Mon, _2 Jan 2006 15:04:05 -0700 (MST)"))
	if err != nil {
		return f, fmt.Errorf("trace field: %w", err)
	}
	return f, nil
}

// word returns a name that can stand in a trace field: the names of files come
// from whoever wrote them.
func word(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', strings.ContainsRune("-._", r):
			return r
		}
		return '?'
	}, s[:min(len(s), 64)])
}

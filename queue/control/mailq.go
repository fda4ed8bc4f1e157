package control

import (
	"cmp"
	"fmt"
	"io"
	"time"
)

// Mailq writes a listing as Postfix's mailq does. Recipients that are finished
// are not in it; nothing in it is obeyed by a terminal.
//
//	----Queue ID----- --Size-- ---Arrival Time---- --Sender/Recipient------
//	0FBZ7Kd1RnXvq*        2312 Sun Nov 22 06:09:17 alice@example.org
//	                (host mx.example.net[192.0.2.1] said: 452 4.2.2 mailbox full)
//	                                               bob@example.net
//
//	-- 2 Kbytes in 1 Request.
//
// Behind the ID stands "*" for a message that is active, "!" for one on hold,
// with the reason, and "#" for one that will be given up.
type Mailq struct {
	W io.Writer // Required.

	n     int
	bytes int64
	form  mailqForm
}

// mailqForm is how wide columns are. Postfix has one for short queue IDs and one
// for long ones.
type mailqForm struct{ heading, first, further string }

var (
	shortIDs = mailqForm{"-Queue ID-  --Size-- ----Arrival Time---- -Sender/Recipient-------\n", "%-11s %7d %20s %s\n", "%41s%s\n"}
	longIDs  = mailqForm{"----Queue ID----- --Size-- ---Arrival Time---- --Sender/Recipient------\n", "%-17s %8d %19s %s\n", "%47s%s\n"}
)

// reasonColumn is where a reason ends when it is short enough.
const reasonColumn = 76

// Add writes a message.
func (q *Mailq) Add(m *Message) error {
	if q.n == 0 {
		q.form = longIDs
		if len(m.ID) <= 10 {
			q.form = shortIDs
		}
		if _, err := io.WriteString(q.W, q.form.heading); err != nil {
			return err
		}
	}
	q.n++
	q.bytes += m.Size
	arrival := m.Arrival.Local().Format(time.ANSIC)[:19]
	if q.form == shortIDs {
		arrival += " "
	}
	fmt.Fprintf(q.W, q.form.first, Printable(m.ID)+mark(m), m.Size, arrival, Printable(cmp.Or(m.Sender, "MAILER-DAEMON")))
	last := ""
	if m.Queue == "hold" || len(m.Recipients) == 0 {
		last = m.Reason
		q.reason(last)
	}
	for _, r := range m.Recipients {
		if r.Reason != "" && r.Reason != last {
			q.reason(r.Reason)
			last = r.Reason
		}
		fmt.Fprintf(q.W, q.form.further, "", Printable(r.Address))
	}
	_, err := io.WriteString(q.W, "\n")
	return err
}

func (q *Mailq) reason(s string) {
	if s = Printable(s); s != "" {
		fmt.Fprintf(q.W, "%*s(%s)\n", max(reasonColumn-len(s), 0), "", s)
	}
}

func mark(m *Message) string {
	switch {
	case m.Queue == "hold":
		return "!"
	case m.Expire:
		return "#"
	case m.Queue == "active":
		return "*"
	}
	return ""
}

// End writes what it comes to.
func (q *Mailq) End() error {
	if q.n == 0 {
		_, err := io.WriteString(q.W, "Mail queue is empty\n")
		return err
	}
	s := "s"
	if q.n == 1 {
		s = ""
	}
	_, err := fmt.Fprintf(q.W, "-- %d Kbytes in %d Request%s.\n", (q.bytes+1023)/1024, q.n, s)
	return err
}

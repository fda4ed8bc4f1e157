package queue

import (
	"cmp"
	"context"
	"fmt"
	"math/bits"
	"strings"
	"time"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/queue/dsn"
)

// Classes is a set of things that the postmaster is told of, as Postfix's
// notify_classes. Zero means Notify2Bounce, NotifyResource and NotifySoftware:
// Postfix's default, and the mail that nobody else would ever hear of.
type Classes uint16

// The classes.
const (
	NotifyBounce   Classes = 1 << iota // copies of notifications to senders, with the header of the message; Notify2Bounce too
	Notify2Bounce                      // mail from the null sender that could not be delivered
	NotifyDelay                        // mail older than Manager.WarningAfter, with its header
	NotifyData                         // damaged messages in the spool; sessions whose messages were not well-formed
	NotifyPolicy                       // sessions with commands that restrictions or filters refused
	NotifyProtocol                     // sessions with errors of the protocol
	NotifyResource                     // sessions that were refused for want of space
	NotifySoftware                     // sessions refused by a fault of ours; messages on hold because agents panic over them
	NotifyNothing                      // no class: it makes a set that is empty
)

// classNames are in the order of their bits.
var classNames = [...]string{"bounce", "2bounce", "delay", "data", "policy", "protocol", "resource", "software"}

// ParseClasses reads a list of names: "bounce", "2bounce", "delay", "data",
// "policy", "protocol", "resource", "software", with commas or spaces between
// them. An empty list is NotifyNothing.
func ParseClasses(list string) (Classes, error) {
	set := NotifyNothing
	for _, name := range strings.FieldsFunc(list, func(c rune) bool { return c == ',' || c == ' ' || c == '\t' || c == '\n' }) {
		class, ok := notifyClass(name)
		if !ok {
			return 0, fmt.Errorf("queue: no such notify class: %.40q", name)
		}
		set = set&^NotifyNothing | class
	}
	return set, nil
}

func notifyClass(name string) (Classes, bool) {
	for i, known := range classNames {
		if strings.EqualFold(name, known) {
			return 1 << i, true
		}
	}
	return 0, false
}

// String returns the list that ParseClasses reads.
func (c Classes) String() string {
	var names []string
	for i, name := range classNames {
		if c&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

// noticeTo returns who is told of a class, or "".
func (m *Manager) noticeTo(class Classes) string {
	set := cmp.Or(m.Notify, Notify2Bounce|NotifyResource|NotifySoftware)
	if set&NotifyBounce != 0 {
		set |= Notify2Bounce
	}
	if set&class == 0 {
		return ""
	}
	return cmp.Or(m.NoticeTo[class], m.Postmaster)
}

// noticeRate is how many notices of one class that is not about a notification
// are sent in an hour: so many clients as there may be, and so many faults, they
// do not fill the queue.
const noticeRate = 20

// allowance is a bucket of noticeRate tokens that fills in an hour.
type allowance struct {
	used     float64       // tokens that are missing, at
	at       time.Duration // of the manager's clock
	withheld int           // notices that were not sent since the last one
}

// take takes a token, and returns how many notices were withheld before.
func (a *allowance) take(now time.Duration) (withheld int, ok bool) {
	a.used = max(0, a.used-(now-a.at).Hours()*noticeRate)
	a.at = now
	if a.used+1 > noticeRate {
		a.withheld++
		return 0, false
	}
	a.used++
	withheld, a.withheld = a.withheld, 0
	return withheld, true
}

// Report tells the postmaster of a session in which something went wrong:
// smtpserver calls it at the session's end. classes are names that ParseClasses
// knows; others mean nothing. A session of no class in Notify is ignored. Of
// each class 20 are sent in an hour; the next notice after that says how many
// were not.
//
// The notice is mail from DoubleBounceSender, so that it is never returned.
func (m *Manager) Report(ctx context.Context, client mtakit.Client, classes []string, transcript string) {
	var set Classes
	for _, name := range classes {
		class, _ := notifyClass(name)
		set |= class & (NotifyData | NotifyPolicy | NotifyProtocol | NotifyResource | NotifySoftware)
	}
	who := cmp.Or(client.Name, "unknown") + "[" + client.Addr.Addr().String() + "]"
	m.tell(ctx, set, "SMTP server: errors from "+who,
		"Transcript of session "+client.ID+" follows.\n\n"+transcript+"\nFor other details, see the log.\n")
}

// tell sends a notice to everybody who is told of one of the classes.
func (m *Manager) tell(ctx context.Context, classes Classes, subject, text string) {
	to := make(map[string]int) // with how many were withheld before
	for rest := classes; rest != 0; rest &= rest - 1 {
		class := rest & -rest
		address := m.noticeTo(class)
		if address == "" {
			continue
		}
		if withheld, ok := m.allow(class); ok {
			to[address] += withheld
		}
	}
	for address, withheld := range to {
		more := ""
		if withheld > 0 {
			more = fmt.Sprintf("\n%d notices like this one were not sent: there were too many in an hour.\n", withheld)
		}
		if err := m.sendNotice(ctx, address, subject, text+more); err != nil {
			m.log().Error("telling the postmaster", "to", address, "subject", subject, "error", err)
		}
	}
}

func (m *Manager) allow(class Classes) (withheld int, ok bool) {
	m.setup()
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.allowances[bits.TrailingZeros16(uint16(class))].take(m.now())
}

func (m *Manager) sendNotice(ctx context.Context, to, subject, text string) error {
	n := &dsn.Notice{Hostname: m.hostname(), To: to, Subject: m.hostname() + " " + subject, Text: text}
	d, eightbit, err := m.write(ctx, n)
	if err != nil {
		return err
	}
	e := &mtakit.Envelope{Sender: m.doubleBounceSender(), Recipients: []mtakit.Recipient{{Address: to}}}
	e.Options = bodyOptions(eightbit, n.IsUTF8())
	e, msg, keep, err := m.admit(ctx, d, e)
	if err != nil || !keep {
		_ = d.Discard()
		return err
	}
	_, err = (&draft{Draft: d, m: m}).Commit(ctx, e, msg)
	return err
}

package control

import (
	"fmt"
	"strings"
	"time"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/queue"
)

// Message is a message as a listing shows it, and one line of it in JSON. Its
// texts are what others have said: they may hold anything.
type Message struct {
	ID         string      `json:"id"`
	Queue      string      `json:"queue"`                // "incoming", "active", "deferred", "hold", "maildrop", "corrupt"
	Sender     string      `json:"sender"`               // "" is the null sender
	Recipients []Recipient `json:"recipients,omitempty"` // that are not finished; nil in a brief listing
	Domains    []string    `json:"domains"`              // of these, in lower case, each once
	Pending    int         `json:"pending"`              // how many they are
	Size       int64       `json:"size"`                 // bytes
	Arrival    time.Time   `json:"arrival"`
	Next       time.Time   `json:"next,omitzero"` // attempt; zero means at once
	Attempts   int         `json:"attempts"`      // started
	Reason     string      `json:"reason"`        // why it is held, why the first recipient waits, why it was put aside, or why it is no mail; "" means that nothing is known
	Priority   int         `json:"priority,omitempty"`
	Panics     int         `json:"panics,omitempty"`
	Expire     bool        `json:"expire,omitempty"`  // it will be given up
	Requeue    bool        `json:"requeue,omitempty"` // it will be accepted anew
}

// Recipient is one that is not finished.
type Recipient struct {
	Address string `json:"address"`
	Reason  string `json:"reason,omitempty"` // of the last attempt; "" means that there was none
}

// brief makes a Message of what a listing knows without opening messages.
func brief(e *queue.Entry) Message {
	return Message{
		ID: e.ID, Queue: e.Queue, Sender: e.Sender, Domains: e.Domains, Pending: e.Pending, Size: e.Size,
		Arrival: e.Arrival.UTC(), Next: e.Next.UTC(), Attempts: e.Attempts, Reason: e.Hold, Priority: e.Priority,
		Panics: e.Panics, Expire: e.Expire, Requeue: e.Requeue,
	}
}

// full adds what only the message itself knows.
func full(m Message, s *queue.Stored) Message {
	m.Recipients = make([]Recipient, 0, m.Pending)
	for i := range s.Marks {
		if finished(s.Marks[i].State) {
			continue
		}
		r := Recipient{s.Envelope.Recipients[i].Address, Reason(&s.Marks[i].Result)}
		if m.Reason == "" {
			m.Reason = r.Reason
		}
		m.Recipients = append(m.Recipients, r)
	}
	return m
}

func finished(s queue.State) bool { return s == queue.Done || s == queue.Notified }

// Reason is a result in words: what the server said, or what we found.
func Reason(r *mtakit.Result) string {
	if r.Reply == nil {
		return r.Diagnostic
	}
	said := fmt.Sprintf("%d %s", r.Reply.Code, r.Reply.Message)
	if e := r.Reply.EnhancedCode; e[0] > 0 {
		said = fmt.Sprintf("%d %d.%d.%d %s", r.Reply.Code, e[0], e[1], e[2], r.Reply.Message)
	}
	if r.Remote != "" {
		said = "host " + r.Remote + " said: " + said
	}
	if r.Diagnostic != "" && r.Diagnostic != r.Reply.Message {
		said += " (" + r.Diagnostic + ")"
	}
	return said
}

// Details are all that is known of a message beside its text.
type Details struct {
	Message
	Length     int64             `json:"length"` // of the message as it is shown, bytes
	NotBefore  time.Time         `json:"notBefore,omitzero"`
	Filter     string            `json:"filter,omitempty"`
	EnvelopeID string            `json:"envelopeID,omitempty"`
	Return     string            `json:"return,omitempty"` // what a notification returns: "FULL", "HDRS"
	Body       string            `json:"body,omitempty"`   // "7BIT", "8BITMIME", "BINARYMIME"
	UTF8       bool              `json:"utf8,omitempty"`
	Key        string            `json:"key,omitempty"` // of its submitter
	Warned     bool              `json:"warned,omitempty"`
	Client     string            `json:"client,omitempty"` // "mx.example.org[192.0.2.1]:25"
	HELO       string            `json:"helo,omitempty"`
	Protocol   string            `json:"protocol,omitempty"`
	Login      string            `json:"login,omitempty"`
	Attrs      map[string]string `json:"attrs,omitempty"`
	All        []Destiny         `json:"all"` // recipients, with those that are finished
}

// Destiny is a recipient and how far it is.
type Destiny struct {
	Address  string   `json:"address"`
	Original string   `json:"original,omitempty"` // before rewriting, where that differs
	Notify   []string `json:"notify,omitempty"`
	State    string   `json:"state"` // "pending", "done", "failed", "notified"
	Outcome  string   `json:"outcome"`
	Reason   string   `json:"reason,omitempty"`
}

// details are those of a message whose text has so many bytes.
func details(s *queue.Stored, length int64) Details {
	e := s.Envelope
	key, _, _ := strings.Cut(s.Key, " ") // behind it the manager notes what it was for
	d := Details{
		Message: full(brief(&s.Entry), s), Length: length,
		NotBefore: e.NotBefore.UTC(), Filter: e.Filter, EnvelopeID: e.Options.EnvelopeID, Return: string(e.Options.Return),
		Body: string(e.Options.Body), UTF8: e.Options.UTF8, Key: key, Warned: s.Warned,
		HELO: e.Client.HELO, Protocol: e.Client.Protocol, Login: e.Client.Login, Attrs: e.Attrs,
		All: make([]Destiny, len(s.Marks)),
	}
	if a := e.Client.Addr; a.IsValid() {
		d.Client = fmt.Sprintf("%s[%s]:%d", e.Client.Name, a.Addr(), a.Port())
	}
	for i := range s.Marks {
		p := &e.Recipients[i]
		d.All[i] = Destiny{Address: p.Address, Original: p.Original, State: states[s.Marks[i].State],
			Outcome: s.Marks[i].Result.Outcome.String(), Reason: Reason(&s.Marks[i].Result)}
		for _, n := range p.Options.Notify {
			d.All[i].Notify = append(d.All[i].Notify, string(n))
		}
	}
	return d
}

var states = map[queue.State]string{
	queue.Pending: "pending", queue.Done: "done", queue.Failed: "failed", queue.Notified: "notified",
}

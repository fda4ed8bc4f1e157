package control

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mtakit/mtakit/queue"
)

// Selection says which messages are meant: those for which all of it holds. The
// zero value means every message.
//
// A pattern is a text that is looked for anywhere, as by Sendmail's -qS and -qR,
// or, when it has a "*" or "?", what the whole is compared with. A "!" in front
// turns it round. Upper and lower case are the same, but in IDs.
type Selection struct {
	IDs       []string      `json:"ids,omitempty"`       // queue IDs, or patterns with "*" or "?"; any of them
	ID        string        `json:"id,omitempty"`        // pattern of the queue ID; "" means any
	Sender    string        `json:"sender,omitempty"`    // pattern; "<>" is the null sender; "" means any
	Recipient string        `json:"recipient,omitempty"` // pattern of a recipient that is not finished; "" means any
	Site      string        `json:"site,omitempty"`      // domain of one, ".example.org" for all below it, or a pattern with "*" or "?"; "" means any
	Older     time.Duration `json:"older,omitempty"`     // age at least; zero means any
	Queue     string        `json:"queue,omitempty"`     // "incoming", "active", "deferred", "hold", "maildrop", "corrupt"; "" means any but the last
}

// All reports whether nothing is asked of a message.
func (s *Selection) All() bool {
	return len(s.IDs) == 0 && s.ID == "" && s.Sender == "" && s.Recipient == "" && s.Site == "" && s.Older == 0 && s.Queue == ""
}

// exact reports whether only messages are meant whose IDs are known.
func (s *Selection) exact() bool {
	return len(s.IDs) > 0 && !slices.ContainsFunc(s.IDs, isGlob)
}

// Check returns an error for what can mean no message.
func (s *Selection) Check() error {
	switch s.Queue {
	case "", "incoming", "active", "deferred", "hold", inMaildrop, inCorrupt:
	default:
		return fmt.Errorf("%w: no queue %q: want incoming, active, deferred, hold, maildrop or corrupt", ErrUsage, s.Queue)
	}
	if s.Older < 0 {
		return fmt.Errorf("%w: age %s", ErrUsage, s.Older)
	}
	for _, p := range []string{s.ID, s.Sender, s.Recipient, s.Site} {
		if p == "!" {
			return fmt.Errorf("%w: nothing behind %q", ErrUsage, p)
		}
	}
	return nil
}

// Match reports whether a message may be meant, as far as it can be told without
// its recipients.
func (s *Selection) Match(e *queue.Entry, now time.Time) bool {
	return (len(s.IDs) == 0 || slices.ContainsFunc(s.IDs, func(id string) bool { return id == e.ID || isGlob(id) && glob(id, e.ID) })) &&
		(s.Queue == "" || s.Queue == e.Queue) &&
		(s.Older == 0 || now.Sub(e.Arrival) >= s.Older) &&
		either(s.ID, func(p string) bool { return contains(p, e.ID) }) &&
		either(s.Sender, func(p string) bool { return matchSender(p, e.Sender) }) &&
		either(s.Site, func(p string) bool {
			return slices.ContainsFunc(e.Domains, func(d string) bool { return inSite(p, d) })
		})
}

// MatchRecipients reports whether one of the recipients that are not finished is meant.
func (s *Selection) MatchRecipients(m *queue.Stored) bool {
	return either(s.Recipient, func(p string) bool {
		for i := range m.Marks {
			if !finished(m.Marks[i].State) && match(p, m.Envelope.Recipients[i].Address) {
				return true
			}
		}
		return false
	})
}

// either asks about a pattern without its "!". An empty one matches.
func either(pattern string, asks func(p string) bool) bool {
	if pattern == "" {
		return true
	}
	p, not := strings.CutPrefix(pattern, "!")
	return asks(p) != not
}

func matchSender(pattern, sender string) bool {
	if pattern == "<>" {
		return sender == ""
	}
	return match(pattern, sender)
}

func match(pattern, s string) bool { return contains(strings.ToLower(pattern), strings.ToLower(s)) }

func contains(pattern, s string) bool {
	if isGlob(pattern) {
		return glob(pattern, s)
	}
	return strings.Contains(s, pattern)
}

func inSite(pattern, domain string) bool {
	pattern = strings.ToLower(pattern)
	switch {
	case isGlob(pattern):
		return glob(pattern, domain)
	case strings.HasPrefix(pattern, "."):
		return strings.HasSuffix(domain, pattern)
	}
	return domain == pattern
}

func isGlob(pattern string) bool { return strings.ContainsAny(pattern, "*?") }

// glob compares the whole of s: "*" stands for any text, "?" for one byte. It
// takes no more steps than the product of the lengths.
func glob(pattern, s string) bool {
	i, star, from := 0, -1, 0
	for n := 0; n < len(s); {
		switch {
		case i < len(pattern) && pattern[i] == '*':
			star, from = i, n
			i++
		case i < len(pattern) && (pattern[i] == '?' || pattern[i] == s[n]):
			i++
			n++
		case star >= 0: // the last star takes one byte more
			from++
			i, n = star+1, from
		default:
			return false
		}
	}
	return strings.Trim(pattern[i:], "*") == ""
}

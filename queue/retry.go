package queue

import (
	"cmp"
	"math/rand/v2"
	"time"

	"github.com/mtakit/mtakit"
)

func (m *Manager) minBackoff() time.Duration { return cmp.Or(m.MinBackoff, 300*time.Second) }

func (m *Manager) maxBackoff() time.Duration {
	return max(m.minBackoff(), cmp.Or(m.MaxBackoff, 4000*time.Second))
}

// longestBackoff is the longest time that retry returns.
func (m *Manager) longestBackoff() time.Duration { return m.maxBackoff() + m.maxBackoff()/8 }

// lifetime returns how long a message is tried: 0 means once.
func (m *Manager) lifetime(e *mtakit.Envelope) time.Duration {
	l := cmp.Or(m.Lifetime, 120*time.Hour)
	if e.Sender == "" {
		l = cmp.Or(m.BounceLifetime, l)
	}
	return max(l, 0)
}

// born is when the life of a message began, which for mail that is sent later
// is not its arrival.
func born(e *mtakit.Envelope) time.Time {
	if e.NotBefore.After(e.Arrival) {
		return e.NotBefore
	}
	return e.Arrival
}

// retry returns how long a message waits for its next attempt. The wait is its
// age, so that it doubles from attempt to attempt, between MinBackoff and
// MaxBackoff, made longer by up to an eighth, so that what failed together does
// not come back together. The last attempt is made when the message expires, or
// MinBackoff after the one before.
//
// A clock that was set back gives a negative age, and MinBackoff.
func (m *Manager) retry(e *mtakit.Envelope, now time.Time) time.Duration {
	age := now.Sub(born(e))
	wait := min(max(age, m.minBackoff()), m.maxBackoff())
	wait += rand.N(wait/8 + 1)
	if left := m.lifetime(e) - age; left > 0 {
		return min(wait, max(left, m.minBackoff()))
	}
	return wait
}

// expired reports whether a message that could not be delivered is given up.
func (m *Manager) expired(e *mtakit.Envelope, now time.Time) bool {
	return now.Sub(born(e)) >= m.lifetime(e)
}

package smtpserver

import "time"

const (
	idleTimeout = 300 * time.Second // Postfix's smtpd_timeout
	dataTimeout = time.Hour
	minDataRate = 500 // bytes per second, Postfix's smtpd_min_data_rate
)

// patience is how long a client may keep us waiting for one thing: a command
// line or a message. Only the time inside reads counts, so that a slow disk is
// not the client's fault.
type patience struct {
	idle  time.Duration // for one read, and before the rate is looked at
	total time.Duration // for all reads
	rate  int           // bytes per second; 0: any

	waited time.Duration
	got    int64 // bytes
}

// forLine is the patience for one command line: idle from its first wait to its
// last, so that a byte now and then does not hold the connection.
func (s *Server) forLine() patience {
	idle := limit(s.IdleTimeout, idleTimeout)
	return patience{idle: idle, total: idle}
}

// forMessage is the patience for one message.
func (s *Server) forMessage() patience {
	return patience{
		idle:  limit(s.IdleTimeout, idleTimeout),
		total: limit(s.DataTimeout, dataTimeout),
		rate:  max(0, limit(s.MinDataRate, minDataRate)),
	}
}

// left returns how long the next read may take; 0 and less means that patience
// has ended.
func (p *patience) left() time.Duration {
	left := min(p.idle, p.total-p.waited)
	if p.rate > 0 {
		earned := time.Duration(p.got/int64(p.rate)) * time.Second
		left = min(left, p.idle+earned-p.waited)
	}
	return left
}

func (p *patience) spend(d time.Duration, n int) {
	p.waited += d
	p.got += int64(n)
}

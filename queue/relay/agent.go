package relay

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/mtakit/mtakit"
)

// Agent delivers mail to other servers. The zero value is ready to use. Its
// exported fields are not changed once it is in use, and Deliver may be called
// from any number of goroutines at once.
type Agent struct {
	// Hostname is the name in EHLO, "mail.example.org"; "" means what the system
	// calls itself.
	Hostname string
	// Names are other names of this machine that may stand in MX records; nil
	// means none but Hostname.
	Names []string
	// Addresses are those at which this machine's own servers are reached, on
	// Port: an MX that leads to one of them is a loop. nil means the addresses of
	// the network interfaces; empty but not nil means none.
	Addresses []netip.Addr

	// Resolver finds MX hosts and addresses; nil means &DNS{}, the system's name
	// servers.
	Resolver Resolver
	// Dialer makes connections. A *net.Dialer with a LocalAddr binds a source
	// address. nil means a plain *net.Dialer.
	Dialer Dialer
	// Port is where next hops without a port are spoken to; zero means 25, with
	// LMTP 24.
	Port int
	// LMTP says to speak LMTP (RFC 2033): LHLO, a reply for each recipient after
	// the end of data, and no MX look-up.
	LMTP bool

	// TLS is how much encryption is asked for; zero means TLSMay.
	TLS TLSLevel
	// TLSConfig has certificates of ours, roots and versions. ServerName and,
	// unless a password is sent, InsecureSkipVerify are set by the agent. nil
	// means Go's defaults.
	TLSConfig *tls.Config
	// Passwords has the "user:password" to log in with, by the name of the server
	// and then by the next hop as the route has it: "[mail.example.org]:587". nil
	// means that the agent never logs in.
	Passwords Passwords

	// Timeouts bound every step; zero fields mean Postfix's defaults.
	Timeouts Timeouts
	// HopLimit is how many Received fields a message may have; with more it is
	// taken for one that loops. Zero means 50, and a negative number no limit.
	HopLimit int
	// AddressLimit is how many addresses of a destination are tried; zero means 5.
	AddressLimit int
	// SessionLimit is how many of them may get as far as MAIL; zero means 2.
	SessionLimit int

	// IdleTime is how long a connection is kept for the next message to the same
	// next hop; zero means 2 s, and a negative time that none is kept.
	IdleTime time.Duration
	// Lifetime is how old a connection may be and be used again; zero means 300 s.
	Lifetime time.Duration
	// IdleLimit is how many idle connections are kept; zero means 100.
	IdleLimit int

	// Logger is told of what no result shows: causes of DNS failures, TLS that
	// failed, loops. nil is silent.
	Logger *slog.Logger

	idle idle
}

// Dialer makes connections; network is "tcp" or "unix". *net.Dialer is one.
type Dialer interface {
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}

// DialerFunc is a function that is a Dialer.
type DialerFunc func(ctx context.Context, network, address string) (net.Conn, error)

// DialContext calls f.
func (f DialerFunc) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return f(ctx, network, address)
}

// Passwords has the credentials for servers; a lookup table is one. An error
// means that it could not answer: the mail is deferred.
type Passwords interface {
	Lookup(ctx context.Context, key string) (value string, ok bool, err error)
}

// PasswordsFunc is a function that is Passwords.
type PasswordsFunc func(ctx context.Context, key string) (value string, ok bool, err error)

// Lookup calls f.
func (f PasswordsFunc) Lookup(ctx context.Context, key string) (value string, ok bool, err error) {
	return f(ctx, key)
}

// TLSLevel is how much encryption is asked for.
type TLSLevel int

// The levels that postconf(5) has under smtp_tls_security_level.
const (
	// TLSMay encrypts where the server offers it, whatever its certificate, and
	// goes on in plain text where that fails.
	TLSMay TLSLevel = iota
	// TLSNone never encrypts.
	TLSNone
	// TLSEncrypt defers mail rather than send it in plain text; certificates are
	// not verified.
	TLSEncrypt
)

// String returns Postfix's name of the level: "may", "none", "encrypt".
func (l TLSLevel) String() string {
	names := [...]string{"may", "none", "encrypt"}
	if l < 0 || int(l) >= len(names) {
		return "unknown"
	}
	return names[l]
}

// Timeouts bound the steps of a session. Each is the time until the whole reply
// has come, whatever trickles in before. The names are those of postconf(5),
// smtp_helo_timeout and so on.
type Timeouts struct {
	Connect  time.Duration // zero means 30 s
	Greeting time.Duration // zero means 300 s
	HELO     time.Duration // EHLO, HELO, LHLO and AUTH; zero means 300 s
	StartTLS time.Duration // reply and handshake; zero means 300 s
	Mail     time.Duration // zero means 300 s
	Rcpt     time.Duration // zero means 300 s
	DataInit time.Duration // reply to DATA; zero means 120 s
	DataXfer time.Duration // for every 64 KiB of the message; zero means 180 s
	DataDone time.Duration // reply to the end of data; zero means 600 s
	RSET     time.Duration // zero means 20 s
	// Cancelled is how long the reply to the end of data is still waited for
	// after the context of Deliver has ended: giving up there delivers the
	// message twice. Zero means 5 s.
	Cancelled time.Duration
}

// withDefaults fills in what is zero.
func (t Timeouts) withDefaults() Timeouts {
	for _, d := range []struct {
		field *time.Duration
		zero  time.Duration
	}{
		{&t.Connect, 30 * time.Second}, {&t.Greeting, 300 * time.Second}, {&t.HELO, 300 * time.Second},
		{&t.StartTLS, 300 * time.Second}, {&t.Mail, 300 * time.Second}, {&t.Rcpt, 300 * time.Second},
		{&t.DataInit, 120 * time.Second}, {&t.DataXfer, 180 * time.Second}, {&t.DataDone, 600 * time.Second},
		{&t.RSET, 20 * time.Second}, {&t.Cancelled, 5 * time.Second},
	} {
		*d.field = orElse(*d.field, d.zero)
	}
	return t
}

// Deliver makes one attempt for the recipients of d; see the package
// documentation for what it does and what the results mean.
func (a *Agent) Deliver(ctx context.Context, d *mtakit.Delivery) []mtakit.Result {
	return a.attempt(ctx, newAttempt(a, d))
}

func (a *Agent) attempt(ctx context.Context, t *attempt) []mtakit.Result {
	if result, ok := a.refuse(t.d); ok {
		t.finish(t.all(), result)
	} else {
		t.run(ctx)
	}
	t.reportRest()
	return t.results
}

// Close ends the idle connections and waits until that is done. Deliveries may
// go on; their connections are not kept any more.
func (a *Agent) Close() error {
	a.idle.close()
	return nil
}

func (a *Agent) hostname() string {
	if a.Hostname != "" {
		return a.Hostname
	}
	name, err := os.Hostname()
	if err != nil || !isHostName(name) {
		return "localhost"
	}
	return name
}

func (a *Agent) port() int {
	if a.LMTP {
		return orElse(a.Port, 24)
	}
	return orElse(a.Port, 25)
}

func (a *Agent) addressLimit() int { return max(1, orElse(a.AddressLimit, 5)) }

func (a *Agent) log() *slog.Logger {
	if a.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return a.Logger
}

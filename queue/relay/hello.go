package relay

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/emersion/go-smtp"
)

// errTLS is wrapped when encryption failed, and plain text has not been tried.
var errTLS = errors.New("TLS failed")

// connect opens a session with a host and brings it as far as MAIL. Under
// TLSMay, when TLS fails, it is opened once more without.
func (a *Agent) connect(ctx context.Context, h host, times Timeouts, next string) (*session, *trouble) {
	login, fault := a.login(ctx, h, next)
	if fault != nil {
		return nil, fault
	}
	s, fault := a.open(ctx, h, times, login, a.TLS != TLSNone)
	if fault == nil || !errors.Is(fault, errTLS) || a.TLS != TLSMay || login != nil {
		return s, fault
	}
	a.log().Info("TLS failed, trying plain text", "remote", h.remote, "error", fault.cause)
	return a.open(ctx, h, times, nil, false)
}

// open is one connection.
func (a *Agent) open(ctx context.Context, h host, times Timeouts, login *credentials, encrypt bool) (*session, *trouble) {
	conn, err := a.dial(ctx, h, times)
	if err != nil {
		return nil, dialTrouble(ctx, h, err)
	}
	s := newSession(conn, h, times)
	s.bind(ctx)
	fault := a.hello(s, login, encrypt)
	if !s.unbind() && fault == nil {
		fault = interrupted(ctx)
	}
	if fault != nil {
		fault.remote = orElse(fault.remote, h.remote)
		s.close()
		return nil, fault
	}
	return s, nil
}

func (a *Agent) dial(ctx context.Context, h host, times Timeouts) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, times.Connect)
	defer cancel()
	if a.Dialer == nil {
		return new(net.Dialer).DialContext(ctx, h.network, h.dial)
	}
	return a.Dialer.DialContext(ctx, h.network, h.dial)
}

// hello is everything before MAIL.
func (a *Agent) hello(s *session, login *credentials, encrypt bool) *trouble {
	reply, err := s.read(s.times.Greeting)
	if err != nil {
		return s.lost("receiving the initial server greeting", err)
	}
	if reply.Code/100 != 2 {
		// Also a 5xx is the host's and not the message's: others may be better
		// disposed (smtp_skip_5xx_greeting).
		fault := s.said("connection", reply).soften()
		fault.text = "refused to talk to me"
		return fault
	}
	if fault := a.ehlo(s); fault != nil {
		return fault
	}
	if encrypt {
		if fault := a.startTLS(s, login != nil); fault != nil {
			return fault
		}
	}
	if login != nil {
		return s.logIn(login)
	}
	return nil
}

// ehlo says EHLO, and HELO to a server that does not know it.
func (a *Agent) ehlo(s *session) *trouble {
	verb := "EHLO"
	if a.LMTP {
		verb = "LHLO"
	}
	reply, err := s.ask(verb+" "+a.hostname(), s.times.HELO)
	if err != nil {
		return s.lost("performing the "+verb+" handshake", err)
	}
	s.offers = offers{}
	if reply.Code/100 == 2 {
		s.offers = parseOffers(reply.Message)
	} else if reply.Code/100 == 5 && reply.Code != 521 && !a.LMTP {
		if reply, err = s.ask("HELO "+a.hostname(), s.times.HELO); err != nil {
			return s.lost("performing the HELO handshake", err)
		}
	}
	if reply.Code/100 != 2 {
		fault := s.said(verb, reply)
		fault.site = !fault.bounce
		return fault
	}
	name, _, _ := strings.Cut(strings.TrimSpace(reply.Message), "\n")
	name, _, _ = strings.Cut(name, " ")
	if !a.LMTP && strings.EqualFold(name, a.hostname()) {
		a.log().Warn("a server calls itself by this machine's name", "remote", s.host.remote)
		return &trouble{status: smtp.EnhancedCode{5, 4, 6}, bounce: true,
			text: fmt.Sprintf("mail loops back to myself: host %s calls itself %s, which is my name", s.host.remote, name)}
	}
	return nil
}

// startTLS encrypts the session if the server lets it. required means that mail
// does not go out in plain text and that the certificate must be good: a
// password follows.
func (a *Agent) startTLS(s *session, required bool) *trouble {
	mandatory := required || a.TLS == TLSEncrypt
	if !s.offers.startTLS {
		if mandatory {
			return tlsTrouble(4, "TLS is required, but was not offered by host "+s.host.remote, nil)
		}
		return nil
	}
	reply, err := s.ask("STARTTLS", s.times.StartTLS)
	if err != nil {
		return tlsTrouble(4, "lost connection with "+s.host.remote+" while sending STARTTLS", err)
	}
	if reply.Code/100 != 2 {
		fault := s.said("STARTTLS", reply).soften()
		if reply.Code == 421 {
			fault.cause = errTLS // the connection is gone, plain text needs another
		}
		if mandatory || reply.Code == 421 {
			return fault
		}
		return nil
	}
	if s.in.Buffered() > 0 {
		// Sent before the handshake, by anybody, and meant to be read after it.
		return tlsTrouble(5, "host "+s.host.remote+" sent more than a reply to STARTTLS", nil)
	}
	conn := tls.Client(s.raw, a.tlsConfig(s.host, required))
	s.deadline(s.raw.SetDeadline, s.times.StartTLS)
	if err := conn.HandshakeContext(s.ctx); err != nil {
		return tlsTrouble(5, "Cannot start TLS with "+s.host.remote+": handshake failure", err)
	}
	s.conn, s.tls = conn, true
	fault := a.ehlo(s)
	if fault != nil && fault.reply == nil && !fault.bounce {
		// With TLS 1.3 the server's refusal of the handshake comes after it.
		fault.cause = fmt.Errorf("%w: %w", errTLS, orNone(fault.cause))
	}
	return fault
}

func tlsTrouble(detail int, text string, err error) *trouble {
	return &trouble{status: smtp.EnhancedCode{4, 7, detail}, site: true, text: text, cause: fmt.Errorf("%w: %w", errTLS, orNone(err))}
}

var errNone = errors.New("no further cause")

func orNone(err error) error {
	if err == nil {
		return errNone
	}
	return err
}

// tlsConfig returns the configuration for one host. Where certificates are not
// verified and anything is better than plain text, old versions will do.
func (a *Agent) tlsConfig(h host, verify bool) *tls.Config {
	config := &tls.Config{}
	if a.TLSConfig != nil {
		config = a.TLSConfig.Clone()
	}
	if isHostName(h.name) {
		config.ServerName = h.name
	} else if h.addr.IsValid() {
		config.ServerName = h.addr.String()
	}
	if !verify {
		config.InsecureSkipVerify = true
		if config.MinVersion == 0 && a.TLS == TLSMay {
			config.MinVersion = tls.VersionTLS10
		}
	}
	return config
}

// credentials are a user name and a password.
type credentials struct{ user, password string }

// login finds the credentials for a host, or nil when it wants none.
func (a *Agent) login(ctx context.Context, h host, next string) (*credentials, *trouble) {
	if a.Passwords == nil {
		return nil, nil
	}
	for _, key := range []string{h.name, next} {
		value, ok, err := a.Passwords.Lookup(ctx, key)
		if err != nil {
			return nil, &trouble{status: smtp.EnhancedCode{4, 3, 0}, text: "password table lookup failed", cause: err}
		}
		user, password, colon := strings.Cut(value, ":")
		switch {
		case ok && !colon:
			return nil, &trouble{status: smtp.EnhancedCode{4, 3, 5}, text: "password table has no user:password for " + key}
		case ok:
			return &credentials{user, password}, nil
		}
	}
	return nil, nil
}

// logIn authenticates (RFC 4954). Whatever the server has against it, the mail
// waits: the administrator can mend it.
func (s *session) logIn(c *credentials) *trouble {
	steps := []string{}
	encode := base64.StdEncoding.EncodeToString
	switch {
	case !s.tls:
		return &trouble{status: smtp.EnhancedCode{4, 7, 4}, site: true, text: "a password is not sent in plain text"}
	case slices.Contains(s.offers.auth, "PLAIN"):
		steps = append(steps, "AUTH PLAIN "+encode([]byte("\x00"+c.user+"\x00"+c.password)))
	case slices.Contains(s.offers.auth, "LOGIN"):
		steps = append(steps, "AUTH LOGIN", encode([]byte(c.user)), encode([]byte(c.password)))
	default:
		return &trouble{status: smtp.EnhancedCode{4, 7, 0}, site: true, text: "host " + s.host.remote + " offers neither AUTH PLAIN nor LOGIN"}
	}
	for i, step := range steps {
		reply, err := s.ask(step, s.times.HELO)
		if err != nil {
			return s.lost("sending AUTH", err)
		}
		want := 334
		if i == len(steps)-1 {
			want = 235
		}
		if reply.Code != want {
			return s.said("AUTH", reply).soften()
		}
	}
	return nil
}

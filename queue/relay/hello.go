package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
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
		verb = "HELO"
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
	// "localhost" is everybody's name.
	if !a.LMTP && strings.Contains(name, ".") && strings.EqualFold(name, a.hostname()) {
		a.log().Warn("a server calls itself by this machine's name", "remote", s.host.remote)
		return &trouble{status: smtp.EnhancedCode{5, 4, 6}, bounce: true,
			text: fmt.Sprintf("mail loops back to myself: host %s calls itself %s, which is my name", s.host.remote, name)}
	}
	return nil
}

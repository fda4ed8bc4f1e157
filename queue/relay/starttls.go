package relay

import (
	"crypto/tls"
	"errors"
	"fmt"

	"github.com/emersion/go-smtp"
)

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

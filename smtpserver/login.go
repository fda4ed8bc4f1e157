package smtpserver

import (
	"context"
	"log/slog"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// AuthMechanisms returns what AUTH offers.
func (v *visit) AuthMechanisms() []string {
	if v.in.Authenticator == nil {
		return nil
	}
	return v.in.Authenticator.Mechanisms()
}

// Auth begins an exchange.
func (v *visit) Auth(mech string) (sasl.Server, error) {
	if v.in.Authenticator == nil {
		return nil, smtp.ErrAuthUnsupported
	}
	v.refresh()
	server, err := v.in.Authenticator.Start(v.ctx, v.s.Client, mech)
	if err != nil {
		return nil, err
	}
	return &exchange{Server: server, v: v, mech: mech}, nil
}

// Authenticated logs who it is.
func (v *visit) Authenticated(_ context.Context, mech string, server sasl.Server) error {
	v.refresh()
	v.log(slog.LevelInfo, "authenticated", "mech", mech, "login", identity(server))
	return nil
}

// exchange is a mechanism at work whose failure is logged: who guesses
// passwords must be seen.
type exchange struct {
	sasl.Server
	v    *visit
	mech string
	done bool
}

// Next is the mechanism's next step.
func (e *exchange) Next(response []byte) (challenge []byte, done bool, err error) {
	challenge, done, err = e.Server.Next(response)
	e.done = done && err == nil
	if err != nil {
		e.v.log(slog.LevelWarn, "authentication failed", "mech", e.mech, "err", err)
	}
	return challenge, done, err
}

// Identity is who was authenticated.
func (e *exchange) Identity() string { return identity(e.Server) }

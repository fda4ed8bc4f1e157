package auth

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/mtakit/mtakit"
)

// Limits in bytes: what is longer is no login that anybody has, and hashing it
// costs time.
const (
	maxUser     = 320 // a local part, @ and a domain (RFC 5321, section 4.5.3.1)
	maxPassword = 1024
)

// The mechanisms that SASL has.
const (
	Plain = "PLAIN" // RFC 4616
	Login = "LOGIN" // never standardised; what Outlook speaks
)

// ErrMechanism is wrapped by Start's error for a mechanism that is not offered.
var ErrMechanism = errors.New("auth: mechanism not offered")

// Verifier checks passwords. ok is false for a wrong password and for an unknown
// user alike. An error means that it could not be found out. It is called from
// many goroutines at once.
type Verifier interface {
	Verify(ctx context.Context, user, password string) (ok bool, err error)
}

// VerifierFunc is a function that is a Verifier.
type VerifierFunc func(ctx context.Context, user, password string) (bool, error)

// Verify calls f.
func (f VerifierFunc) Verify(ctx context.Context, user, password string) (bool, error) {
	return f(ctx, user, password)
}

// Authorizer says who may act for whom: user, whose password was right, wants to
// be identity.
type Authorizer interface {
	Authorize(ctx context.Context, user, identity string) (ok bool, err error)
}

// AuthorizerFunc is a function that is an Authorizer.
type AuthorizerFunc func(ctx context.Context, user, identity string) (bool, error)

// Authorize calls f.
func (f AuthorizerFunc) Authorize(ctx context.Context, user, identity string) (bool, error) {
	return f(ctx, user, identity)
}

// SASL has the mechanisms PLAIN and LOGIN over a Verifier. It satisfies
// smtpserver.Authenticator, and is safe for concurrent use.
type SASL struct {
	// Verifier checks the passwords. It is required.
	Verifier Verifier
	// Authorizer is asked about an authorization identity that is not the user
	// himself; nil means that there is none.
	Authorizer Authorizer
	// Offer lists the mechanisms that are offered; nil means PLAIN and LOGIN.
	Offer []string
}

// Mechanisms returns what is offered.
func (a *SASL) Mechanisms() []string {
	if a.Offer == nil {
		return []string{Plain, Login}
	}
	return a.Offer
}

// Start begins an exchange, which ends with ctx. The server has a method
// Identity, the authorization identity after success.
func (a *SASL) Start(ctx context.Context, _ mtakit.Client, mech string) (sasl.Server, error) {
	l := login{ctx: ctx, sasl: a}
	for _, offered := range a.Mechanisms() {
		if !strings.EqualFold(offered, mech) {
			continue
		}
		switch strings.ToUpper(mech) {
		case Plain:
			return &plainServer{login: l}, nil
		case Login:
			return &loginServer{login: l}, nil
		}
	}
	return nil, fmt.Errorf("%w: %.20q", ErrMechanism, mech)
}

// login is what the mechanisms share.
type login struct {
	ctx      context.Context
	sasl     *SASL
	identity string
	over     bool
}

// Identity returns who was authenticated; "" before that.
func (l *login) Identity() string { return l.identity }

// finish checks user and password, and that user may be identity.
func (l *login) finish(identity, user, password string) error {
	l.over = true
	if !isName(user) || password == "" || len(password) > maxPassword || strings.IndexByte(password, 0) >= 0 {
		return smtp.ErrAuthFailed
	}
	ok, err := l.sasl.Verifier.Verify(l.ctx, user, password)
	if err != nil {
		return fmt.Errorf("auth: verify %.80q: %w", user, err)
	}
	if !ok {
		return fmt.Errorf("auth: user %.80q: %w", user, smtp.ErrAuthFailed)
	}
	if identity == "" || identity == user {
		l.identity = user
		return nil
	}
	return l.authorize(user, identity)
}

func (l *login) authorize(user, identity string) error {
	if l.sasl.Authorizer == nil || !isName(identity) {
		return fmt.Errorf("auth: user %.80q as %.80q: %w", user, identity, smtp.ErrAuthFailed)
	}
	ok, err := l.sasl.Authorizer.Authorize(l.ctx, user, identity)
	if err != nil {
		return fmt.Errorf("auth: authorize %.80q as %.80q: %w", user, identity, err)
	}
	if !ok {
		return fmt.Errorf("auth: user %.80q as %.80q: %w", user, identity, smtp.ErrAuthFailed)
	}
	l.identity = identity
	return nil
}

// isName reports whether user can be one: what holds a control character would
// be written into headers, logs and queries.
func isName(user string) bool {
	if user == "" || len(user) > maxUser {
		return false
	}
	return strings.IndexFunc(user, func(r rune) bool { return r < ' ' || r == 0x7f || r == '�' }) < 0
}

// plainServer is PLAIN: "identity NUL user NUL password" (RFC 4616, section 2).
type plainServer struct {
	login
	asked bool
}

// Next takes the client's response.
func (p *plainServer) Next(response []byte) (challenge []byte, done bool, err error) {
	if p.over {
		return nil, false, sasl.ErrUnexpectedClientResponse
	}
	if response == nil && !p.asked {
		p.asked = true
		return []byte{}, false, nil
	}
	parts := bytes.Split(response, []byte{0})
	if len(parts) != 3 {
		p.over = true
		return nil, false, fmt.Errorf("auth: malformed PLAIN response: %w", smtp.ErrAuthFailed)
	}
	if err := p.finish(string(parts[0]), string(parts[1]), string(parts[2])); err != nil {
		return nil, false, err
	}
	return nil, true, nil
}

// loginServer is LOGIN: it asks for the user, unless the client has sent him
// along, and for the password.
type loginServer struct {
	login
	user  string
	asked int
}

// Next takes the client's response.
func (s *loginServer) Next(response []byte) (challenge []byte, done bool, err error) {
	switch {
	case s.over:
		return nil, false, sasl.ErrUnexpectedClientResponse
	case s.asked == 0 && response == nil:
		s.asked = 1
		return []byte("Username:"), false, nil
	case s.asked < 2:
		if len(response) > maxUser {
			s.over = true
			return nil, false, smtp.ErrAuthFailed
		}
		s.user, s.asked = string(response), 2
		return []byte("Password:"), false, nil
	}
	if err := s.finish("", s.user, string(response)); err != nil {
		return nil, false, err
	}
	return nil, true, nil
}

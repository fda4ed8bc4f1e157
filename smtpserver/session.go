package smtpserver

import (
	"context"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/mtakit/mtakit"
)

// Backend makes the session of a new connection. It is called from the
// connection's goroutine before the greeting, and again after STARTTLS (RFC
// 3207, section 4.2: the server forgets what it knew): then the session before
// it has been logged out.
//
// ctx ends with the connection, and when the server is closed. An error refuses
// the connection: a *smtp.SMTPError is the greeting (554, 521, 421), any other
// error is logged and answered with 421 4.3.0.
//
// The session's methods are called one after the other from that same
// goroutine. A nil error is success with the standard reply; a *smtp.SMTPError
// is the reply, also with a 2xx code, where it is success with this text; 421
// and 521 close the connection after it; "\n" parts the lines of its Message.
// Any other error is a fault of ours: 451 4.3.0 with a generic text, and the
// cause goes to the log.
type Backend interface {
	NewSession(ctx context.Context, c *Conn) (smtp.Session, error)
}

// BackendFunc is a function that is a Backend.
type BackendFunc func(ctx context.Context, c *Conn) (smtp.Session, error)

// NewSession calls f.
func (f BackendFunc) NewSession(ctx context.Context, c *Conn) (smtp.Session, error) {
	return f(ctx, c)
}

// What a session may implement beside smtp.Session. A session that has one of
// these offers what it stands for: go-smtp's own smtp.AuthSession (AUTH) and
// smtp.LMTPSession (per-recipient answers under LMTP) are honoured too.
type (
	// HELOSession is told of HELO, EHLO and LHLO. keywords is the list that EHLO
	// is about to offer ("SIZE 10240000"), without the host name; what is
	// returned is offered in its place. For HELO it is nil.
	HELOSession interface {
		HELO(ctx context.Context, verb, name string, keywords []string) ([]string, error)
	}
	// BeforeDataSession may refuse DATA, or the first BDAT, in place of 354.
	BeforeDataSession interface {
		BeforeData(ctx context.Context) error
	}
	// VRFYSession answers VRFY. Without it the answer is 252 2.0.0.
	VRFYSession interface {
		VRFY(ctx context.Context, address string) error
	}
	// ETRNSession answers ETRN (RFC 1985). Without it ETRN is not offered.
	ETRNSession interface {
		ETRN(ctx context.Context, site string) error
	}
	// ParamSession is given the MAIL or RCPT parameters that go-smtp has no
	// field for, before Mail or Rcpt is called. Without it they are refused with
	// 555 5.5.4.
	ParamSession interface {
		Params(ctx context.Context, verb string, params []mtakit.Param) error
	}
	// AuthenticatedSession is told after a successful AUTH, when Conn.Client has
	// Login and Mech. An error refuses it after all.
	AuthenticatedSession interface {
		Authenticated(ctx context.Context, mech string, server sasl.Server) error
	}
)

// Identity is what the sasl.Server that smtp.AuthSession.Auth returns may
// implement: the authorization identity after success ("user@example.org"),
// which becomes Client.Login. Without it Login is "unknown".
//
// The errors of a sasl.Server are answered like this: a *smtp.SMTPError is the
// reply, smtp.ErrAuthFailed (or anything that wraps it) and go-sasl's own errors
// about the client's response are 535 5.7.8, and any other error is a fault of
// ours: 454 4.7.0.
type Identity interface {
	Identity() string
}

package smtpserver

import (
	"encoding/base64"
	"errors"
	"log/slog"
	"strings"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/mtakit/mtakit"
)

// maxAuthRounds bounds an exchange. No mechanism in use needs more than four.
const maxAuthRounds = 32

// errCancelled is a client's "*" (RFC 4954, section 4).
var errCancelled = errors.New("authentication cancelled by the client")

// mechanisms returns what the session offers and the connection allows.
func (c *Conn) mechanisms() []string {
	s, ok := c.session.(smtp.AuthSession)
	if !ok || c.tls == nil && !c.server.AllowInsecureAuth {
		return nil
	}
	return s.AuthMechanisms()
}

// auth is AUTH (RFC 4954).
func (c *Conn) auth(arg []byte) {
	s, ok := c.session.(smtp.AuthSession)
	name, initial, _ := strings.Cut(string(arg), " ")
	mech := strings.ToUpper(name)
	switch {
	case !ok || len(s.AuthMechanisms()) == 0:
		c.reply(503, smtp.EnhancedCode{5, 5, 1}, "Error: authentication not enabled")
	case c.tx.mail:
		c.reply(503, smtp.EnhancedCode{5, 5, 1}, "Error: MAIL transaction in progress")
	case c.tls == nil && !c.server.AllowInsecureAuth:
		c.reply(538, smtp.EnhancedCode{5, 7, 11}, "Encryption required for requested authentication mechanism")
	case c.client.Login != "":
		c.reply(503, smtp.EnhancedCode{5, 5, 1}, "Error: already authenticated")
	case mech == "":
		c.reply(501, smtp.EnhancedCode{5, 5, 4}, "Syntax: AUTH mechanism")
	case !offers(s, mech):
		c.reply(504, smtp.EnhancedCode{5, 5, 4}, "Unrecognized authentication mechanism")
	default:
		c.authenticate(s, mech, strings.TrimSpace(initial))
	}
}

func offers(s smtp.AuthSession, mech string) bool {
	for _, m := range s.AuthMechanisms() {
		if strings.EqualFold(m, mech) {
			return true
		}
	}
	return false
}

// authenticate runs a mechanism and answers with its result.
func (c *Conn) authenticate(s smtp.AuthSession, mech, initial string) {
	server, err := s.Auth(mech)
	if err == nil {
		err = c.exchange(server, initial)
	}
	login := identity(server)
	if err == nil && hasControl([]byte(login)) {
		err = smtp.ErrAuthFailed // it goes to logs, tables and headers
	}
	if err != nil {
		if !c.ending {
			c.send(c.authReply(err))
		}
		return
	}
	c.client.Login, c.client.Mech = login, mech
	if told, ok := c.session.(AuthenticatedSession); ok {
		err = told.Authenticated(c.ctx, mech, server)
	}
	if !c.answer(err, &smtp.SMTPError{Code: 235, EnhancedCode: smtp.EnhancedCode{2, 7, 0},
		Message: "Authentication successful"}) {
		c.client.Login, c.client.Mech = "", ""
	}
}

// identity returns who was authenticated.
func identity(server sasl.Server) string {
	if s, ok := server.(Identity); ok && s.Identity() != "" {
		return s.Identity()
	}
	return "unknown"
}

// exchange sends challenges until the mechanism is content or fails.
func (c *Conn) exchange(server sasl.Server, initial string) error {
	var response []byte // nil: the client sent no initial response
	var err error
	if initial != "" {
		if response, err = decodeResponse(initial); err != nil {
			return err
		}
	}
	for range maxAuthRounds {
		challenge, done, err := server.Next(response)
		if err != nil || done && len(challenge) == 0 {
			return err
		}
		if response, err = c.challenge(challenge); err != nil || done {
			return err
		}
	}
	return smtp.ErrAuthFailed
}

// decodeResponse decodes a client's base64; "=" is a response that is there but
// empty (RFC 4954, section 4).
func decodeResponse(s string) ([]byte, error) {
	if s == "=" {
		return []byte{}, nil
	}
	b, err := base64.StdEncoding.AppendDecode([]byte{}, []byte(s))
	if err != nil {
		return nil, &smtp.SMTPError{Code: 501, EnhancedCode: smtp.EnhancedCode{5, 5, 2},
			Message: "Error: cannot decode response"}
	}
	return b, nil
}

// challenge sends a challenge and reads the response.
func (c *Conn) challenge(challenge []byte) ([]byte, error) {
	c.out = append(c.out, "334 "...)
	c.out = base64.StdEncoding.AppendEncode(c.out, challenge)
	c.out = append(c.out, '\r', '\n')
	c.transcript.add(" Out: ", []byte("334 ..."))
	l, err := c.readLine(maxAuthLine)
	c.transcript.add(" In:  ", []byte("(a response)"))
	switch {
	case errors.Is(err, errLineTooLong):
		return nil, &smtp.SMTPError{Code: 500, EnhancedCode: smtp.EnhancedCode{5, 5, 6},
			Message: "Authentication exchange line is too long"}
	case err != nil:
		c.lost(err)
		return nil, err
	case l.bare && !c.bareAllowed():
		return nil, bareReply(c.server.hostname(), "<LF>")
	case string(l.text) == "*":
		return nil, errCancelled
	}
	return decodeResponse(string(l.text))
}

// authReply says what the client did wrong, or 454 when it is our fault.
func (c *Conn) authReply(err error) *smtp.SMTPError {
	if errors.Is(err, errCancelled) {
		return &smtp.SMTPError{Code: 501, EnhancedCode: smtp.EnhancedCode{5, 7, 0}, Message: "Authentication aborted"}
	}
	if errors.Is(err, smtp.ErrAuthFailed) || errors.Is(err, sasl.ErrUnexpectedClientResponse) {
		return &smtp.SMTPError{Code: 535, EnhancedCode: smtp.EnhancedCode{5, 7, 8},
			Message: "Error: authentication failed: authentication failure"}
	}
	if r, ok := mtakit.AsReply(err); ok && r.Code >= 400 && r.Code < 600 {
		return coded(r)
	}
	c.log(slog.LevelError, "authentication could not be checked", "err", err)
	return &smtp.SMTPError{Code: 454, EnhancedCode: smtp.EnhancedCode{4, 7, 0}, Message: "Temporary authentication failure"}
}

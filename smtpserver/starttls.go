package smtpserver

import (
	"context"
	"crypto/tls"
	"log/slog"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/mtakit/mtakit"
)

// startTLS is STARTTLS (RFC 3207). What the client knew of us and we of it is
// forgotten after it. Commands that came with it in plain text were refused by
// run: somebody between us may have put them there (CVE-2011-0411).
func (c *Conn) startTLS([]byte) {
	switch {
	case c.server.TLSConfig == nil:
		c.send(unimplementedReply)
		return
	case c.tls != nil:
		c.reply(554, smtp.EnhancedCode{5, 5, 1}, "Error: TLS already active")
		return
	case c.tx.mail:
		c.reply(503, smtp.EnhancedCode{5, 5, 1}, "Error: MAIL transaction in progress")
		return
	}
	c.reply(220, smtp.EnhancedCode{2, 0, 0}, "Ready to start TLS")
	if c.flush() != nil || !c.handshake() {
		c.ending = true
		return
	}
	c.logout()
	c.verb, c.client.HELO, c.client.Login, c.client.Mech = "", "", "", ""
	session, err := c.server.Backend.NewSession(c.ctx, c)
	if err != nil {
		c.refuseNext(err)
		return
	}
	c.session = session
}

// refuseNext answers the next command with err: there is no second greeting to
// do it with.
func (c *Conn) refuseNext(err error) {
	if _, e := c.readLine(limit(c.server.MaxLine, maxLine)); e != nil {
		c.lost(e)
		return
	}
	c.refuse(err)
}

// handshake turns TLS on. Whatever fails in it, no plain text follows.
func (c *Conn) handshake() bool {
	timeout := limit(c.server.IdleTimeout, idleTimeout)
	ctx, cancel := context.WithTimeout(c.ctx, timeout)
	defer cancel()
	if c.arm(time.Now().Add(timeout)) != nil {
		c.ending = true
		return false
	}
	conn := tls.Server(c.netConn, c.server.TLSConfig)
	if err := conn.HandshakeContext(ctx); err != nil {
		c.log(slog.LevelInfo, "TLS handshake failed", "err", err)
		c.ending = true
		return false
	}
	c.tls, c.conn = conn, conn
	c.client.TLS = describeTLS(conn.ConnectionState())
	return true
}

func describeTLS(s tls.ConnectionState) mtakit.TLS {
	t := mtakit.TLS{
		Version:    tlsVersion(s.Version),
		Cipher:     tls.CipherSuiteName(s.CipherSuite),
		ServerName: s.ServerName,
	}
	if len(s.VerifiedChains) > 0 {
		t.Peer = s.PeerCertificates[0].Subject.CommonName
	}
	return t
}

// tlsVersion names versions as OpenSSL and Postfix do: "TLSv1.3".
func tlsVersion(v uint16) string {
	switch v {
	case tls.VersionTLS10:
		return "TLSv1"
	case tls.VersionTLS11:
		return "TLSv1.1"
	case tls.VersionTLS12:
		return "TLSv1.2"
	case tls.VersionTLS13:
		return "TLSv1.3"
	}
	return "unknown"
}

package smtpserver

import (
	"context"
	"crypto/tls"
	"net"

	"github.com/emersion/go-smtp"

	"github.com/mtakit/mtakit"
)

// Conn is a client's connection, as its Backend and session see it. It belongs
// to the goroutine that serves it: only NetConn and Server may be called from
// others.
type Conn struct {
	server  *Server
	netConn net.Conn
	tls     *tls.Conn
	client  mtakit.Client
	session smtp.Session
	ctx     context.Context
}

// Client returns what is known of the client now. ID, Addr and Server stay the
// same; HELO, Protocol, TLS, Login and Mech change with the commands, so that a
// session asks again when it needs them. Name and ReverseName are empty: the
// engine asks no DNS.
func (c *Conn) Client() mtakit.Client { return c.client }

// TLSConnectionState returns the state of TLS; ok is false without TLS.
func (c *Conn) TLSConnectionState() (state tls.ConnectionState, ok bool) {
	if c.tls == nil {
		return tls.ConnectionState{}, false
	}
	return c.tls.ConnectionState(), true
}

// NetConn returns the connection as it was accepted, below TLS. Whoever reads
// or writes it breaks the dialogue; it is there for addresses and options.
func (c *Conn) NetConn() net.Conn { return c.netConn }

// Server returns the server that serves the connection.
func (c *Conn) Server() *Server { return c.server }

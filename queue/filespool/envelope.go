package filespool

import (
	"net/netip"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/mtakit/mtakit"
)

// The tags of an envelope. A number is never used again for something else.
const (
	envSender byte = iota + 1
	envOptions
	envParam
	envRecipient
	envClient
	envArrival
	envNotBefore
	envPriority
	envHold
	envFilter
	envAttr
)

const (
	optBody byte = iota + 1
	optSize
	optRequireTLS
	optUTF8
	optReturn
	optEnvelopeID
	optAuth
)

const (
	rcptAddress byte = iota + 1
	rcptOriginal
	rcptNotify
	rcptORCPTType
	rcptORCPT
	rcptValidSince
	rcptByTime
	rcptByMode
	rcptByTrace
	rcptPriority
)

const (
	clientID byte = iota + 1
	clientAddr
	clientServer
	clientName
	clientReverseName
	clientHELO
	clientProtocol
	clientTLSVersion
	clientTLSCipher
	clientTLSServerName
	clientTLSPeer
	clientLogin
	clientMech
)

const (
	pairName byte = iota + 1
	pairValue
)

func (e *encoder) envelope(env *mtakit.Envelope) {
	e.str(envSender, env.Sender)
	e.group(envOptions, func() { e.mailOptions(&env.Options) })
	for _, p := range env.Params {
		e.pair(envParam, p.Name, p.Value)
	}
	for i := range env.Recipients {
		e.group(envRecipient, func() { e.recipient(&env.Recipients[i]) })
	}
	e.group(envClient, func() { e.client(&env.Client) })
	e.time(envArrival, env.Arrival)
	e.time(envNotBefore, env.NotBefore)
	e.int(envPriority, int64(env.Priority))
	e.str(envHold, env.Hold)
	e.str(envFilter, env.Filter)
	for name, v := range env.Attrs {
		e.pair(envAttr, name, v)
	}
}

func (e *encoder) pair(tag byte, name, v string) {
	e.group(tag, func() {
		e.str(pairName, name)
		e.str(pairValue, v)
	})
}

func (e *encoder) mailOptions(o *smtp.MailOptions) {
	e.str(optBody, string(o.Body))
	e.int(optSize, o.Size)
	e.bool(optRequireTLS, o.RequireTLS)
	e.bool(optUTF8, o.UTF8)
	e.str(optReturn, string(o.Return))
	e.str(optEnvelopeID, o.EnvelopeID)
	if o.Auth != nil { // AUTH=<> is not the same as no AUTH (RFC 4954, section 5)
		e.must(optAuth, *o.Auth)
	}
}

func (e *encoder) recipient(r *mtakit.Recipient) {
	o := &r.Options
	e.str(rcptAddress, r.Address)
	e.str(rcptOriginal, r.Original)
	for _, n := range o.Notify {
		e.must(rcptNotify, string(n))
	}
	e.str(rcptORCPTType, string(o.OriginalRecipientType))
	e.str(rcptORCPT, o.OriginalRecipient)
	e.time(rcptValidSince, o.RequireRecipientValidSince)
	if by := o.DeliverBy; by != nil {
		e.int(rcptByTime, int64(by.Time))
		e.must(rcptByMode, string(by.Mode))
		e.bool(rcptByTrace, by.Trace)
	}
	if o.MTPriority != nil {
		e.group(rcptPriority, func() { e.int(1, int64(*o.MTPriority)) })
	}
}

func (e *encoder) client(c *mtakit.Client) {
	e.str(clientID, c.ID)
	e.addr(clientAddr, c.Addr)
	e.addr(clientServer, c.Server)
	e.str(clientName, c.Name)
	e.str(clientReverseName, c.ReverseName)
	e.str(clientHELO, c.HELO)
	e.str(clientProtocol, c.Protocol)
	e.str(clientTLSVersion, c.TLS.Version)
	e.str(clientTLSCipher, c.TLS.Cipher)
	e.str(clientTLSServerName, c.TLS.ServerName)
	e.str(clientTLSPeer, c.TLS.Peer)
	e.str(clientLogin, c.Login)
	e.str(clientMech, c.Mech)
}

func (e *encoder) addr(tag byte, a netip.AddrPort) {
	if a == (netip.AddrPort{}) {
		return
	}
	b, _ := a.MarshalBinary() // never fails
	e.bytes(tag, b)
}

func (v value) envelope() *mtakit.Envelope {
	env := new(mtakit.Envelope)
	for tag, v := range v.fields() {
		switch tag {
		case envSender:
			env.Sender = v.str()
		case envOptions:
			v.mailOptions(&env.Options)
		case envParam:
			name, s := v.pair()
			env.Params = append(env.Params, mtakit.Param{Name: name, Value: s})
		case envRecipient:
			env.Recipients = append(env.Recipients, v.recipient())
		case envClient:
			env.Client = v.client()
		case envArrival:
			env.Arrival = v.time()
		case envNotBefore:
			env.NotBefore = v.time()
		case envPriority:
			env.Priority = int(v.int())
		case envHold:
			env.Hold = v.str()
		case envFilter:
			env.Filter = v.str()
		case envAttr:
			if env.Attrs == nil {
				env.Attrs = map[string]string{}
			}
			name, s := v.pair()
			env.Attrs[name] = s
		}
	}
	return env
}

func (v value) pair() (name, s string) {
	for tag, v := range v.fields() {
		switch tag {
		case pairName:
			name = v.str()
		case pairValue:
			s = v.str()
		}
	}
	return name, s
}

func (v value) mailOptions(o *smtp.MailOptions) {
	for tag, v := range v.fields() {
		switch tag {
		case optBody:
			o.Body = smtp.BodyType(v.str())
		case optSize:
			o.Size = v.int()
		case optRequireTLS:
			o.RequireTLS = v.bool()
		case optUTF8:
			o.UTF8 = v.bool()
		case optReturn:
			o.Return = smtp.DSNReturn(v.str())
		case optEnvelopeID:
			o.EnvelopeID = v.str()
		case optAuth:
			auth := v.str()
			o.Auth = &auth
		}
	}
}

func (v value) recipient() (r mtakit.Recipient) {
	o := &r.Options
	for tag, v := range v.fields() {
		switch tag {
		case rcptAddress:
			r.Address = v.str()
		case rcptOriginal:
			r.Original = v.str()
		case rcptNotify:
			o.Notify = append(o.Notify, smtp.DSNNotify(v.str()))
		case rcptORCPTType:
			o.OriginalRecipientType = smtp.DSNAddressType(v.str())
		case rcptORCPT:
			o.OriginalRecipient = v.str()
		case rcptValidSince:
			o.RequireRecipientValidSince = v.time()
		case rcptByTime:
			deliverBy(o).Time = time.Duration(v.int())
		case rcptByMode:
			deliverBy(o).Mode = smtp.DeliverByMode(v.str())
		case rcptByTrace:
			deliverBy(o).Trace = v.bool()
		case rcptPriority:
			o.MTPriority = new(int)
			for _, v := range v.fields() {
				*o.MTPriority = int(v.int())
			}
		}
	}
	return r
}

func deliverBy(o *smtp.RcptOptions) *smtp.DeliverByOptions {
	if o.DeliverBy == nil {
		o.DeliverBy = new(smtp.DeliverByOptions)
	}
	return o.DeliverBy
}

func (v value) client() (c mtakit.Client) {
	for tag, v := range v.fields() {
		switch tag {
		case clientID:
			c.ID = v.str()
		case clientAddr:
			c.Addr = v.addr()
		case clientServer:
			c.Server = v.addr()
		case clientName:
			c.Name = v.str()
		case clientReverseName:
			c.ReverseName = v.str()
		case clientHELO:
			c.HELO = v.str()
		case clientProtocol:
			c.Protocol = v.str()
		case clientTLSVersion:
			c.TLS.Version = v.str()
		case clientTLSCipher:
			c.TLS.Cipher = v.str()
		case clientTLSServerName:
			c.TLS.ServerName = v.str()
		case clientTLSPeer:
			c.TLS.Peer = v.str()
		case clientLogin:
			c.Login = v.str()
		case clientMech:
			c.Mech = v.str()
		}
	}
	return c
}

func (v value) addr() (a netip.AddrPort) {
	if a.UnmarshalBinary(v.b) != nil {
		v.fail()
	}
	return a
}

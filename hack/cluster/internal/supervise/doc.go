// Package supervise keeps a few programs running as daemons: it starts them, once what they need is there, writes their
// output to files, starts them again when they end, and reaps every orphan that comes its way, as an init has to.
package supervise

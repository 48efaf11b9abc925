// Package process remembers a process across restarts of the program that started it, so that only that very process
// is ever killed: a process id alone may belong to another process by then.
package process

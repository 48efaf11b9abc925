// Package quantity reads amounts of bytes that people write, at a cost that does not grow with the value.
package quantity

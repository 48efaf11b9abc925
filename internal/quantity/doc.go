// Package quantity parses amounts of bytes that users write, at a cost that does not grow with the value.
package quantity

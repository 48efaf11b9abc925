// Package placement decides, for every node, which node-class label it should have.
package placement

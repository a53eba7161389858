// Package rehearse.
package rehearse

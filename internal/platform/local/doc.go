// Package local is the platform driver that runs agents as child processes of
// this machine. All it keeps lies in one folder: unpacked artifacts, a folder
// per running agent, and logs. It leaves no process behind: agents end when
// this process does, and what a killed server has left is ended by the next.
package local

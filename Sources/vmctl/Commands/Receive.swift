import ArgumentParser
import Foundation
import Management
import Teleport

struct Receive: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Waits for machines that this host has no definition of.",
    discussion: """
      The definition travels with the machine: vmctl controlvm NAME teleport to this port makes it here, starts its process, \
      and teleports it. Its disks must lie on storage that both hosts share, by the same paths. A machine that does not come \
      leaves nothing behind. Whoever knows the password can have you run any machine, with any of your files.
      """)
  @Option(help: "The address to listen on, and on which the machines wait.") var address = "0.0.0.0"
  @Option(name: [.customShort("p"), .long], help: "The port to listen on; 0: a free one.") var port = 0
  @Option(help: "A file with the password in its first line.", completion: .file()) var passwordfile: String
  @Flag(help: "Ends when a machine has come.") var once = false
  @Flag(help: "Takes the socket that systemd has opened, and ends when nobody has come for a minute.") var systemd =
    false

  func validate() throws {
    guard (0...65535).contains(port) else { throw ValidationError("--port is from 0 to 65535") }
    guard !systemd || port == 0 else { throw ValidationError("--systemd has its port from the socket unit") }
  }

  func run() throws {
    let reception = MachineReception(
      try Registry.fromEnvironment(), address: address, passwordFile: Paths.absolute(passwordfile))
    let receiver = try TeleportReceiver(address: address, password: try PasswordFile.read(passwordfile)) { text in
      let place = try reception.receive(text)
      Terminal.line("a machine waits on port \(place.port)")
      return TeleportReceiver.Place(port: place.port) {
        let hasCome = place.release()
        Terminal.line(hasCome ? "a machine has come" : "a machine has not come")
        return hasCome
      }
    }
    receiver.onWrongPassword = { Terminal.error("vmctl: a wrong password was tried (\($0) so far)") }
    if systemd {
      let variables = ProcessInfo.processInfo.environment
      guard variables["LISTEN_FDS"] == "1", variables["LISTEN_PID"] == String(getpid()), receiver.adopt(3) != nil else {
        throw ManagementError(
          "systemd has opened no TCP socket for this",
          remedy: "start it by a socket unit with one ListenStream, Accept=no")
      }
      for name in ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"] { unsetenv(name) }
    } else {
      Terminal.line("waiting for machines on \(address) port \(try receiver.listen(port: port))")
    }
    receiver.run(once: once, idleMS: systemd ? 60_000 : -1)
  }
}

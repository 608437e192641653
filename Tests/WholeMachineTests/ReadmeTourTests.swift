import Foundation
import Testing

/// The tour of README.md, typed word for word at a terminal, in a network of its own since it names ports.
@Suite struct ReadmeTourTests {
  static let why: String? =
    TmuxTerminal.missing ?? (geteuid() != 0 ? "needs root, for a network namespace" : nil)
    ?? (Guests.hasLinux ? nil : "needs the Linux guests: run scripts/fetch-guest")
    ?? (access("/run/systemd/system", F_OK) == 0 ? "systemd runs here, and would get its service" : nil)

  /// The lines of the tour, without what has been done when tests run.
  private static func lines() throws -> [String] {
    let page = try String(contentsOfFile: Guests.root + "/README.md", encoding: .utf8)
    let tour = try #require(page.components(separatedBy: "## A tour in five minutes\n").last)
    let lines = tour.components(separatedBy: "\n## ")[0].split(separator: "\n").filter { $0.hasPrefix("    ") }
    return lines.map { $0.dropFirst(4).replacingOccurrences(of: "GUEST/", with: Guests.cache + "/") }
      .filter { !$0.hasPrefix("swift build") && !$0.hasPrefix("export PATH") }
  }

  @Test(.enabled(if: why == nil, "\(why ?? "")"))
  func wordForWord() throws {
    let (host, target) = (try TestHost(), try TestHost())
    let files = FileManager.default
    // The homes that the tour names are those that the tests clean up.
    try files.createDirectory(atPath: host.folder + "/.local/share", withIntermediateDirectories: true)
    for (link, folder) in [
      (".local/share/vmctl", host.home), ("host-b", target.home), ("bin/vmctl", TestHost.vmctl),
    ] {
      let path = host.folder + "/" + link
      try files.createDirectory(
        atPath: (path as NSString).deletingLastPathComponent, withIntermediateDirectories: true)
      if folder != TestHost.vmctl { try files.createDirectory(atPath: folder, withIntermediateDirectories: true) }
      try files.createSymbolicLink(atPath: path, withDestinationPath: folder)
    }
    // What it takes to be there.
    _ = try host.write("install.iso", [UInt8](repeating: 0, count: 1 << 20))
    let shell = """
      ip link set lo up; cd; unset VMCTL_HOME; PS1='[$?]$ ' exec bash --norc --noprofile
      """
    let terminal = try TmuxTerminal(
      host, ["unshare", "-n", "sh", "-c", shell], columns: 160, rows: 50,
      environment: [
        "HOME": host.folder, "TMPDIR": host.folder, "VMCTL_GUESTS": Guests.cache, "VMCTL_UNITS": host.folder + "/units",
        "PATH": host.folder + "/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
      ])
    try terminal.expect(last: "[0]$")
    for line in try Self.lines() {
      print("tour: \(line)")
      try type(line, terminal, host)
    }
    for home in ["", "VMCTL_HOME=~/host-b "] { try type(home + "vmctl list runningvms", terminal, host) }
    #expect(!terminal.screen.contains("\"box\""))
  }

  private func type(_ line: String, _ terminal: TmuxTerminal, _ host: TestHost) throws {
    try terminal.press("C-l")
    if line.hasPrefix("vmctl run --disk") {
      // Something was installed on it meanwhile.
      let disk = Guests.folder("debian-amd64") + "/disk.img"
      guard access(disk, R_OK) == 0 else { return }
      let copy = try Child(
        "cp", ["--sparse=always", disk, host.folder + "/disk.img"], environment: host.environment,
        streams: .files(folder: host.folder, input: nil))
      #expect(try copy.wait() == 0)
    }
    try terminal.type(line.hasPrefix("scripts/") ? Guests.root + "/" + line : line)
    try terminal.press("Enter")
    var status = "[0]$"
    switch line {
    case _ where line.contains("telnet localhost"):
      try terminal.expect("Escape character")
      try terminal.press("Enter")
      try terminal.expect("guest#")
      try terminal.press("C-]")
      try terminal.expect("telnet>")
      try terminal.type("quit")
      try terminal.press("Enter")
    case _ where line.contains("Ctrl-A x"):
      try terminal.expect("guest#")
      try terminal.press("C-a", "x")
    case _ where line.contains("--gdb"):
      try terminal.expect("target remote")
      try terminal.press("C-a", "x")
    case _ where line.contains("vmctl events"):
      try terminal.expect("\"state\"")
      try terminal.press("C-c")
      status = "[130]$"
    case _ where line.contains("metrics --listen"):
      try terminal.expect("serving metrics")
      try terminal.press("C-c")
      status = "[130]$"
    case _ where line.contains("--on-panic exit"): status = "[1]$"
    default: break
    }
    try terminal.expect(last: status)
  }
}

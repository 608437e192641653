import Foundation

/// A real systemd as pid 1 in namespaces: a folder that is /lab in there, with this vmctl and the guests of a test.
final class SystemdLab {
  let folder: String

  /// Why it cannot be had here; nil: it can.
  static let missing: String? = {
    if geteuid() != 0 { return "it needs root" }
    if access("/lib/systemd/systemd", X_OK) != 0 { return "systemd is not installed" }
    let roots = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"]
    guard roots.contains(where: { access($0 + "/cgroup.controllers", R_OK) == 0 && access($0, W_OK) == 0 }) else {
      return "there is no cgroup2 that may be written"
    }
    return nil
  }()

  init() throws {
    folder = try makeTemporaryFolder("lab")
    try makeProgram(folder + "/vmctl", from: TestHost.vmctl)
  }

  deinit { try? FileManager.default.removeItem(atPath: folder) }

  func copy(_ path: String, as name: String) throws {
    try FileManager.default.copyItem(atPath: path, toPath: folder + "/" + name)
  }

  func file(_ name: String) -> String {
    String(decoding: FileManager.default.contents(atPath: folder + "/" + name) ?? Data(), as: UTF8.self)
  }

  /// Boots, runs the script and shuts down.
  /// - Returns: what the script wrote.
  func boot(_ script: String) throws -> String {
    try Data(script.utf8).write(to: URL(fileURLWithPath: folder + "/boot"))
    let child = try Child(
      Guests.root + "/scripts/lib/systemd-namespace", [folder, String(Int(patience))],
      environment: ProcessInfo.processInfo.environment, streams: .files(folder: folder, input: nil))
    let status = try child.wait(within: patience + 20)
    let output = file("boot.out")
    guard !output.isEmpty else {
      throw Failure("systemd ended with \(status): \(child.errors)\n\(file("systemd.log").suffix(4000))")
    }
    return output
  }
}

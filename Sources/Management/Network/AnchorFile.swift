import Foundation
import HostNetwork

/// The files of anchors in a VM's folder: for each NAT process that carries on flows of the machine, which has gone to another
/// host. The process holds a lock on its file as long as it lives, and keeps in it what it does.
public enum AnchorFile {
  /// An anchor that lives.
  public struct Anchor: Equatable, Sendable {
    /// What it says of itself.
    public var status: AnchorStatus
    let path: String

    /// What ends with it, in words.
    var lastWords: String {
      "connections through NAT that this host carried for the machine at \(status.towards) end: "
        + (status.report?.whole ?? "not counted yet")
    }
  }

  private static let prefix = "anchor"

  /// Makes the file for a new anchor, and locks it; the lock is whoever's who has the descriptor.
  static func make(_ folder: VMFolder, _ status: AnchorStatus) throws -> Int32 {
    let path = "\(folder.path)/\(prefix)\(status.card)-\(UUID().uuidString.prefix(8).lowercased()).json"
    // It has its name when it has its lock: a file without is of a dead anchor.
    let temporary = path + ".new"
    let descriptor = try Files.openFile(temporary, O_RDWR | O_CREAT | O_EXCL, "make")
    let encoder = JSONEncoder()
    encoder.dateEncodingStrategy = .iso8601
    try? Files.writeAll(descriptor, Array(encoder.encode(status)), path: path)
    guard FileLock(descriptor: descriptor).tryLock(.running), rename(temporary, path) == 0 else {
      close(descriptor)
      unlink(temporary)
      throw ManagementError("cannot lock \(path)")
    }
    return descriptor
  }

  /// Those that live, by card and time. The files of others are taken away.
  public static func list(_ folder: VMFolder) -> [Anchor] {
    let names = ((try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? []).sorted()
    let all = names.filter { $0.hasPrefix(prefix) && $0.hasSuffix(".json") }.compactMap { name -> Anchor? in
      let path = folder.path + "/" + name
      guard let descriptor = try? Files.openFile(path, O_RDWR, "read") else { return nil }
      let lock = FileLock(descriptor: descriptor)
      defer { close(descriptor) }
      guard lock.isHeldElsewhere(.running) else {
        unlink(path)
        return nil
      }
      let decoder = JSONDecoder()
      decoder.dateDecodingStrategy = .iso8601
      guard let text = try? Files.read(path), let status = try? decoder.decode(AnchorStatus.self, from: Data(text.utf8))
      else { return nil }
      return Anchor(status: status, path: path)
    }
    return all.sorted { ($0.status.card, $0.status.since) < ($1.status.card, $1.status.since) }
  }

  /// Ends anchors; the flows that they have are reset where the machine is.
  /// - Parameter isWanted: which.
  /// - Returns: what ends with them, in words.
  @discardableResult
  public static func end(_ folder: VMFolder, where isWanted: (AnchorStatus) -> Bool) -> [String] {
    let ending = list(folder).filter { isWanted($0.status) }
    for anchor in ending where anchor.status.process > 1 {
      kill(anchor.status.process, SIGTERM)
      // It has nothing to put in order.
      for _ in 0..<200 where list(folder).contains(where: { $0.path == anchor.path }) { usleep(10_000) }
    }
    return ending.map(\.lastWords)
  }
}

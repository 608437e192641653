import Foundation
import Teleport

/// What a witness has written down of a machine: who may run it. Changed by one compare-and-set only.
struct WitnessRecord: Codable, Equatable {
  enum Holder: String, Codable {
    /// Nothing is protected yet.
    case nobody
    /// The primary runs it, and the backup may take it.
    case both
    case primary
    case backup

    init(_ side: ProtectionSide) { self = side == .primary ? .primary : .backup }
  }

  /// The machine's UUID.
  var machine: String
  /// The protection; empty: none yet.
  var session: String
  var holder: Holder

  /// What becomes of it when a protection begins.
  /// - Parameter machine: its UUID on the host that runs it now.
  func established(_ session: String, machine: String) -> WitnessRecord {
    WitnessRecord(machine: machine, session: session, holder: .both)
  }

  /// What becomes of it when a side asks for the machine.
  /// - Returns: nil: it is not that side's.
  func claimed(_ session: String, _ side: ProtectionSide) -> WitnessRecord? {
    guard self.session == session, holder == .both || holder == .init(side) else { return nil }
    return WitnessRecord(machine: machine, session: session, holder: .init(side))
  }
}

/// Where a witness is, as users write it.
public enum WitnessPlace: Equatable, Sendable {
  /// None: each side believes what it sees.
  case none
  /// A file on storage that both hosts reach, whose locks both see.
  case file(String)
  /// An etcd server, by the address of its JSON gateway: "http://127.0.0.1:2379".
  case etcd(String)
  /// A program that decides: it fences the other host, or asks who knows.
  case command(String)

  /// - Throws: `ManagementError` for other words.
  public init(_ text: String) throws {
    if text == "none" {
      self = .none
      return
    }
    let kind = text.prefix { $0 != ":" }
    let rest = String(text.dropFirst(kind.count + 1))
    switch kind {
    case "file" where rest.hasPrefix("/"): self = .file(rest)
    case "file" where !rest.isEmpty: self = .file(Files.absolute(rest))
    case "etcd" where rest.hasPrefix("http://") && rest.count > 7: self = .etcd(rest)
    case "command" where !rest.isEmpty: self = .command(rest)
    default:
      throw ManagementError(
        "\"\(text)\" is no witness",
        remedy: "give file:PATH (on storage that both hosts reach), etcd:http://HOST:PORT, command:PROGRAM or none")
    }
  }

  /// Whether somebody can ask it whose a machine is without a decision.
  public var canBeLookedAt: Bool {
    switch self {
    case .file, .etcd: true
    case .none, .command: false
    }
  }

  /// As users write it.
  public var text: String {
    switch self {
    case .none: "none"
    case .file(let path): "file:\(path)"
    case .etcd(let url): "etcd:\(url)"
    case .command(let line): "command:\(line)"
    }
  }
}

/// A place where records are changed by compare-and-set.
protocol WitnessStore {
  /// - Parameter change: gets what is written down, nil: nothing; gives what is to be, nil: it stays. Called again when
  ///   somebody else was quicker.
  /// - Throws: `ManagementError` when nobody can say.
  func change(_ body: (WitnessRecord?) throws -> WitnessRecord?) throws
}

/// A small file, which is locked while it is read and written. Open file description locks are seen by all processes of a host,
/// and over NFS version 4 by those of others.
struct FileWitness: WitnessStore {
  let path: String
  /// Whether the file is made where there is none.
  let makes: Bool
  /// Seconds to wait for the lock.
  private static let patience = 5.0
  private static let bytes = 512

  func change(_ body: (WitnessRecord?) throws -> WitnessRecord?) throws {
    let file = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW | (makes ? O_CREAT : 0), 0o600)
    guard file >= 0 else { throw ManagementError.system("cannot open \(path)") }
    defer { close(file) }
    var information = stat()
    guard fstat(file, &information) == 0, information.st_mode & S_IFMT == S_IFREG else {
      throw ManagementError("\(path) is no file")
    }
    try lock(file)
    var buffer = [UInt8](repeating: 0, count: Self.bytes + 1)
    let count = pread(file, &buffer, buffer.count, 0)
    guard count >= 0 else { throw ManagementError.system("cannot read \(path)") }
    var before: WitnessRecord?
    if count > 0 {
      let text = Data(buffer[..<min(count, Self.bytes)].prefix { $0 != 10 })
      guard count <= Self.bytes, let known = try? JSONDecoder().decode(WitnessRecord.self, from: text) else {
        throw ManagementError("\(path) holds something else than a witness's record")
      }
      before = known
    }
    guard let after = try body(before), after != before else { return }
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys]
    var bytes = Array(try encoder.encode(after)) + [10]
    // One sector, which is written whole or not at all.
    bytes += [UInt8](repeating: 32, count: max(0, Self.bytes - 1 - bytes.count)) + [10]
    guard bytes.count == Self.bytes, pwrite(file, bytes, bytes.count, 0) == bytes.count, fsync(file) == 0 else {
      throw ManagementError.system("cannot write \(path)")
    }
  }

  private func lock(_ file: Int32) throws {
    var wish = flock()
    wish.l_type = Int16(F_WRLCK)
    wish.l_whence = Int16(SEEK_SET)
    let end = ContinuousClock.now + .seconds(Self.patience)
    while fcntl(file, FileLock.setLock, &wish) != 0 {
      guard errno == EAGAIN || errno == EACCES || errno == EINTR, ContinuousClock.now < end else {
        throw ManagementError.system("cannot lock \(path)")
      }
      usleep(5000)
    }
  }
}

/// A key of etcd's, by its JSON gateway.
struct EtcdWitness: WitnessStore {
  let url: String
  let machine: String

  private struct Range: Decodable {
    struct Pair: Decodable {
      var mod_revision: String?
      var value: String?
    }
    var kvs: [Pair]?
  }
  private struct Answer: Decodable { var succeeded: Bool? }

  private var key: String { Data("vmctl/protection/\(machine)".utf8).base64EncodedString() }

  func change(_ body: (WitnessRecord?) throws -> WitnessRecord?) throws {
    for _ in 0..<20 {
      let range = try JSONDecoder().decode(Range.self, from: Data(try post("/v3/kv/range", ["key": key])))
      var before: WitnessRecord?
      var revision = "0"
      if let pair = range.kvs?.first {
        revision = pair.mod_revision ?? "0"
        guard let data = pair.value.flatMap({ Data(base64Encoded: $0) }),
          let known = try? JSONDecoder().decode(WitnessRecord.self, from: data)
        else { throw ManagementError("etcd's key vmctl/protection/\(machine) holds something else") }
        before = known
      }
      guard let after = try body(before), after != before else { return }
      let value = try JSONEncoder().encode(after).base64EncodedString()
      let compare: [String: Any] = ["key": key, "target": "MOD", "result": "EQUAL", "mod_revision": revision]
      let put: [String: Any] = ["request_put": ["key": key, "value": value]]
      let answer = try post("/v3/kv/txn", ["compare": [compare], "success": [put]])
      if try JSONDecoder().decode(Answer.self, from: Data(answer)).succeeded == true { return }
    }
    throw ManagementError("etcd changes quicker than it can be asked")
  }

  private func post(_ path: String, _ body: [String: Any]) throws -> [UInt8] {
    try SmallHTTP.post(url + path, body: Array(try JSONSerialization.data(withJSONObject: body)), seconds: 3)
  }
}

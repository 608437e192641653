import Foundation

/// What is wrong with a saved state or an incoming stream.
public enum SavedStateError: Error, Equatable, CustomStringConvertible {
  case truncated(String)
  case corrupt(String)
  case unsupported(String)
  case mismatch(String)

  public var description: String {
    switch self {
    case .truncated(let what): "the saved state ends too early: \(what)"
    case .corrupt(let what): "the saved state is damaged: \(what)"
    case .unsupported(let what): "the saved state cannot be read by this version: \(what)"
    case .mismatch(let what): "the saved state does not fit this machine: \(what)"
    }
  }
}

/// One named, versioned part of a saved state.
///
/// The fields are JSON with sorted keys: self-describing, so that a newer build reads an older one's state, and the same
/// bytes for the same state. Bulk bytes (video memory, data buffers) go into `blob` as they are.
public struct StateSection: Equatable, Sendable {
  /// "uart1", "cpu0": the device's instance name.
  public var name: String
  /// What kind of thing wrote it: "uart16550".
  public var kind: String
  /// Of what `fields` mean; grows with each change of them.
  public var version: Int
  /// The state's properties as JSON; empty: they cannot be encoded.
  public var fields: Data {
    get { contents.data }
    set { contents = Contents(newValue) }
  }
  private var contents: Contents
  /// Large contents as they are, such as video memory.
  public var blob: Data

  public init(name: String, kind: String, version: Int, fields: Data, blob: Data = Data()) {
    self.name = name
    self.kind = kind
    self.version = version
    contents = Contents(fields)
    self.blob = blob
  }

  /// A state, which is a value, and which is encoded when somebody wants to read it: a machine that is saved stands still for
  /// less than that takes. It throws nothing itself; `SectionCodec` throws for a state that cannot be encoded.
  public init(name: String, kind: String, version: Int, state: some Encodable, blob: Data = Data()) throws {
    self.init(name: name, kind: kind, version: version, fields: Data(), blob: blob)
    contents = Contents {
      let encoder = JSONEncoder()
      encoder.outputFormatting = [.sortedKeys]
      return (try? encoder.encode(state)) ?? Data()
    }
  }

  /// What is encoded counts, not whether it has been.
  public static func == (one: StateSection, other: StateSection) -> Bool {
    one.name == other.name && one.kind == other.kind && one.version == other.version && one.blob == other.blob
      && (one.contents === other.contents || one.fields == other.fields)
  }

  /// The fields as a `State`, when this is a section of that kind and of a version up to `version`;
  /// otherwise throws `SavedStateError`.
  public func decode<State: Decodable>(_ type: State.Type, kind: String, upTo version: Int) throws -> State {
    guard self.kind == kind else {
      throw SavedStateError.mismatch("section \(name) is a \(self.kind), and a \(kind) was expected")
    }
    guard (1...version).contains(self.version) else {
      throw SavedStateError.unsupported(
        "section \(name) has version \(self.version); this build reads up to \(version)")
    }
    do {
      return try JSONDecoder().decode(type, from: fields)
    } catch {
      throw SavedStateError.corrupt("section \(name): \(error)")
    }
  }
}

/// Bytes that are made when they are wanted, once.
private final class Contents: @unchecked Sendable {
  private let lock = NSLock()
  private var known: Data?
  private var make: (() -> Data)?

  init(_ data: Data) { known = data }
  init(_ make: @escaping () -> Data) { self.make = make }

  var data: Data {
    lock.withLock {
      if let known { return known }
      let data = make?() ?? Data()
      (known, make) = (data, nil)
      return data
    }
  }
}

import Foundation

/// Open descriptors that go from one process to another with a message (unix(7), SCM_RIGHTS).
package enum DescriptorPassing {
  /// More come with no message.
  private static let most = 4
  /// A cmsghdr, and its data, both aligned to 8 bytes (cmsg(3)).
  private static let header = MemoryLayout<cmsghdr>.size

  private static let rights = Int32(0x01)  // SCM_RIGHTS

  /// - Returns: false when the other side is gone.
  package static func send(_ socket: Int32, _ bytes: [UInt8], _ descriptors: [Int32]) -> Bool {
    var bytes = bytes
    var control = [UInt64](repeating: 0, count: (header + most * 4 + 7) / 8)
    return bytes.withUnsafeMutableBytes { data in
      control.withUnsafeMutableBytes { room in
        var part = iovec(iov_base: data.baseAddress, iov_len: data.count)
        return withUnsafeMutablePointer(to: &part) { parts in
          var message = msghdr()
          message.msg_iov = parts
          message.msg_iovlen = 1
          if !descriptors.isEmpty {
            let length = header + descriptors.count * 4
            var first = cmsghdr()
            first.cmsg_len = length
            first.cmsg_level = SOL_SOCKET
            first.cmsg_type = rights
            room.storeBytes(of: first, as: cmsghdr.self)
            for (index, descriptor) in descriptors.prefix(most).enumerated() {
              room.storeBytes(of: descriptor, toByteOffset: header + index * 4, as: Int32.self)
            }
            message.msg_control = room.baseAddress
            message.msg_controllen = (length + 7) & ~7
          }
          return sendmsg(socket, &message, Int32(MSG_NOSIGNAL)) == data.count
        }
      }
    }
  }

  /// Waits for one message.
  /// - Returns: its bytes, up to 4 KiB, and the descriptors, which are then the caller's; nil when the other side is gone or
  ///   silent for longer than the socket waits.
  package static func receive(_ socket: Int32) -> ([UInt8], [Int32])? {
    guard case .moved(let bytes, let descriptors) = receiveNow(socket) else { return nil }
    return (bytes, descriptors)
  }

  package enum Outcome {
    case moved([UInt8], [Int32])
    /// Nothing now; poll(2) will tell.
    case wouldBlock
    /// The other side is gone.
    case ended
  }

  /// As `receive`, also of a socket that does not wait.
  package static func receiveNow(_ socket: Int32) -> Outcome {
    var bytes = [UInt8](repeating: 0, count: 4096)
    var control = [UInt64](repeating: 0, count: (header + most * 4 + 7) / 8)
    var descriptors: [Int32] = []
    var code: Int32 = 0
    let count = bytes.withUnsafeMutableBytes { data in
      control.withUnsafeMutableBytes { room in
        var part = iovec(iov_base: data.baseAddress, iov_len: data.count)
        return withUnsafeMutablePointer(to: &part) { parts -> Int in
          var message = msghdr()
          message.msg_iov = parts
          message.msg_iovlen = 1
          message.msg_control = room.baseAddress
          message.msg_controllen = room.count
          var count = 0
          repeat { count = recvmsg(socket, &message, Int32(MSG_CMSG_CLOEXEC)) } while count < 0 && errno == EINTR
          code = errno
          guard count > 0, message.msg_controllen >= header else { return count }
          let first = room.load(as: cmsghdr.self)
          guard first.cmsg_level == SOL_SOCKET, first.cmsg_type == rights else { return count }
          let length = min(Int(first.cmsg_len), Int(message.msg_controllen))
          for offset in stride(from: header, to: length - 3, by: 4) {
            descriptors.append(room.load(fromByteOffset: offset, as: Int32.self))
          }
          return count
        }
      }
    }
    guard count > 0 else { return count < 0 && code == EAGAIN ? .wouldBlock : .ended }
    return .moved(Array(bytes[..<count]), descriptors)
  }
}
